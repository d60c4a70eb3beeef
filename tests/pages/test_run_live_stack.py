"""Run live, the stack: techniques in order, presets, and combinations that are not possible."""

import re

import pytest

from dit_core.models import recovered, sources
from dit_core.recipes.recipe import Recipe, canonical, recover_by_default
from dit_core.records.spec import RunSpec
from dit_core.ui.run_live import form, presets, recovery
from tests.pages.conftest import plain, run_button, texts


def stack(at) -> list[str]:
    named = at.query_params["technique"]
    return [named] if isinstance(named, str) else named


def test_techniques_are_added_moved_and_removed(open_page, queue, everything):
    at = open_page("run_live", technique="quantization")
    at.selectbox(key="add-quantization").select("everything").run()
    assert stack(at) == ["quantization", "everything"]
    assert run_button(at).disabled  # quantization packs the weights: nothing can follow it
    at.button(key="Up-everything").click().run()
    assert stack(at) == ["everything", "quantization"]
    run_button(at).click().run()
    assert [technique["name"] for technique in queue.list()[0].spec.techniques] == stack(at)
    at.button(key="Remove-everything").click().run()
    assert stack(at) == ["quantization"]


def test_knobs_keep_their_values_when_techniques_change_places(open_page, everything):
    at = open_page("run_live", technique=["quantization", "everything"], quantization_bits="3", everything_few="7")
    at.button(key="Down-quantization").click().run()
    assert at.slider(key="quantization_bits").value == 3
    assert at.slider(key="everything_few").value == 7


def test_a_link_to_a_stack_opens_the_form_with_it(open_page, queue, everything):
    recipe = [{"name": "everything", "few": 2}, {"name": "quantization", "bits": 4}]
    spec = RunSpec(techniques=canonical(recipe), samples=1000)
    run_button(open_page("run_live", **form.address(spec))).click().run()
    assert queue.list()[0].spec == spec


@pytest.mark.parametrize("named", [["nothing"], ["quantization", "quantization"], [""]])
def test_unknown_and_repeated_techniques_in_a_link_are_ignored(open_page, named):
    at = open_page("run_live", technique=named)
    assert at.selectbox(key="technique-0-quantization").value == "quantization"


def test_bundled_weights_are_offered_only_for_the_knobs_that_have_them(open_page, queue):
    at = open_page("run_live", technique="depth_pruning", depth_pruning_keep="4")
    assert at.selectbox(key="depth_pruning_recover").options == ["none", "bundled"]
    assert "Not trained. Bundled weights exist for these knobs: choose bundled to use them." in texts(at)
    assert "Uses bundled weights" not in texts(at)
    at = open_page("run_live", technique="depth_pruning", depth_pruning_keep="4", depth_pruning_recover="bundled")
    assert re.search(r"Uses bundled weights, trained for [\d,]+ steps with these knobs", texts(at))
    at = open_page("run_live", technique="depth_pruning", depth_pruning_keep="5")
    assert at.selectbox(key="depth_pruning_recover").options == ["none"]
    assert re.search(r"No bundled weights for these knobs. They exist for [^.]*keep 4", texts(at))
    at = open_page("run_live", technique="depth_pruning", depth_pruning_keep="5", depth_pruning_recover="bundled")
    assert "these knobs have no bundled weights" in plain(at.error[0])
    assert run_button(at).disabled


def test_a_technique_that_is_chosen_in_the_form_is_recovered_where_weights_are_bundled(open_page):
    at = open_page("run_live", technique="quantization")
    at.selectbox(key="technique-0-quantization").select("depth_pruning").run()
    assert at.selectbox(key="depth_pruning_recover").value == "bundled"
    assert at.query_params["depth_pruning_recover"] in ("bundled", ["bundled"])
    for value, expected in ((5, "none"), (4, "bundled")):
        at.slider(key="depth_pruning_keep").set_value(value).run()
        assert at.selectbox(key="depth_pruning_recover").value == expected
    at.selectbox(key="depth_pruning_recover").select("none").run()
    for value in (5, 4):
        at.slider(key="depth_pruning_keep").set_value(value).run()
    assert at.selectbox(key="depth_pruning_recover").value == "none"  # the choice of a person


def test_the_recovery_of_a_link_is_not_changed(open_page):
    link = {"technique": "depth_pruning", "depth_pruning_keep": "4"}
    at = open_page("run_live", **link)
    assert at.selectbox(key="depth_pruning_recover").value == "none"
    at = open_page("run_live", **link, depth_pruning_recover="500")
    assert "Trains for 500 steps on this machine" in texts(at)


def test_a_link_is_not_changed_by_an_earlier_choice_in_the_form(open_page):
    at = open_page("home")
    at.session_state["depth_pruning-recover-by-default"] = True  # a preset was chosen before
    at.query_params["technique"] = "depth_pruning"
    at.switch_page("../../pages/run_live.py").run()
    at.number_input(key="steps").set_value(5).run()
    assert at.selectbox(key="depth_pruning_recover").value == "none"


def test_values_with_bundled_weights_are_marked(open_page):
    at = open_page("run_live", technique="depth_pruning")
    assert 'aria-label="Keep with bundled weights: 4"' in "".join(mark.proto.body for mark in at.get("html"))
    at = open_page("run_live", technique="focused_linear_attention")
    assert "With bundled weights: all, alternate" in texts(at)
    assert recovery.bundled_values("random:DiT-S/2@256", [{"name": "depth_pruning"}], "keep") == []


def test_a_preset_fills_in_the_form(open_page, queue):
    at = open_page("run_live")
    at.get_by_key("preset").set_value("Half the depth and int8 weights").run()
    assert stack(at) == ["depth_pruning", "quantization"]
    assert at.selectbox(key="depth_pruning_recover").value == "bundled"
    at.get_by_key("preset").set_value("Quick look").run()
    assert (at.number_input(key="steps").value, at.number_input(key="judged").value) == (4, 0)
    run_button(at).click().run()
    spec = queue.list()[0].spec
    assert [technique["name"] for technique in spec.techniques] == ["depth_pruning", "quantization"]
    assert (spec.steps, spec.samples) == (4, 0)


@pytest.mark.parametrize("name", presets.PRESETS)
def test_every_preset_can_be_run_here(name):
    recipe = recover_by_default("emoji", presets.PRESETS[name].recipe or ())
    Recipe.parse(recipe).check(sources.find("emoji").structure, "cpu")
    recovered.check("emoji", recipe)


@pytest.mark.parametrize("names", [["solver", "step_distillation"], ["step_distillation", "solver"]])
def test_techniques_that_sample_in_different_ways_are_one_line_and_cannot_be_run(open_page, names):
    at = open_page("run_live", technique=names)
    assert plain(at.error[0]) == f"{' and '.join(names)} sample in different ways: use one of them."
    assert run_button(at).disabled


@pytest.mark.parametrize(
    ("address", "line"),
    [
        (
            {"technique": ["window_attention", "distillation"]},
            "distillation does not fit the network after window_attention: block 0 was changed by another "
            "technique: put distillation first.",
        ),
        (
            {"technique": "guidance_distillation", "guidance": "9"},
            "Distilled guidance is trained for scales from 1 to 6: set guidance in this range, not to 9.",
        ),
    ],
    ids=["stack", "guidance"],
)
def test_what_a_run_would_refuse_is_one_line_and_cannot_be_run(open_page, address, line):
    at = open_page("run_live", **address)
    assert plain(at.error[0]) == line
    assert run_button(at).disabled
