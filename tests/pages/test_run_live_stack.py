"""Run live, the stack: techniques in order, presets, what does not go together."""

import re

import pytest

from dit_core import techniques
from dit_core.models import catalog, recovered
from dit_core.spec import RunSpec
from dit_core.ui import form, presets
from tests.pages.conftest import run_button, texts


def stack(at) -> list[str]:
    named = at.query_params["technique"]
    return [named] if isinstance(named, str) else named


def test_techniques_are_stacked_moved_and_taken_out(open_page, queue, everything):
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


def test_knobs_stay_as_they_are_when_techniques_change_places(open_page, everything):
    at = open_page("run_live", technique=["quantization", "everything"], quantization_bits="3", everything_few="7")
    at.button(key="Down-quantization").click().run()
    assert at.slider(key="quantization_bits").value == 3
    assert at.slider(key="everything_few").value == 7


def test_a_link_to_a_stack_opens_the_form_with_it(open_page, queue, everything):
    recipe = [{"name": "everything", "few": 2}, {"name": "quantization", "bits": 4}]
    spec = RunSpec(techniques=techniques.canonical(recipe), samples=1000)
    run_button(open_page("run_live", **form.address(spec))).click().run()
    assert queue.list()[0].spec == spec


@pytest.mark.parametrize("named", [["nothing"], ["quantization", "quantization"], [""]])
def test_techniques_that_cannot_be_meant_are_left_out(open_page, named):
    at = open_page("run_live", technique=named)
    assert at.selectbox(key="technique-0-quantization").value == "quantization"


def test_bundled_weights_are_offered_only_for_the_knobs_that_have_them(open_page, queue):
    at = open_page("run_live", technique="depth_pruning", depth_pruning_keep="4")
    assert at.selectbox(key="depth_pruning_recover").options == ["none", "bundled"]
    assert "Not trained. There are bundled weights for just these knobs: choose bundled." in texts(at)
    assert "steps of training left" not in texts(at)
    at = open_page("run_live", technique="depth_pruning", depth_pruning_keep="4", depth_pruning_recover="bundled")
    assert re.search(r"Bundled: weights that [\d,]+ steps of training left for just these knobs", texts(at))
    at = open_page("run_live", technique="depth_pruning", depth_pruning_keep="5")
    assert at.selectbox(key="depth_pruning_recover").options == ["none"]
    assert re.search(r"No bundled weights for these knobs. There are some for [^.]*keep 4", texts(at))
    at = open_page("run_live", technique="depth_pruning", depth_pruning_keep="5", depth_pruning_recover="bundled")
    assert "these knobs have no bundled weights" in at.error[0].value
    assert run_button(at).disabled


def test_a_preset_fills_in_the_form(open_page, queue):
    at = open_page("run_live")
    at.get_by_key("preset").set_value("Half the depth in 8 bits").run()
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
    recipe = techniques.canonical(presets.PRESETS[name].recipe or ())
    techniques.check_available(recipe, "cpu", catalog.outline("emoji"))
    recovered.check("emoji", recipe)


@pytest.mark.parametrize("names", [["solver", "step_distillation"], ["step_distillation", "solver"]])
def test_techniques_that_sample_in_different_ways_are_one_line_and_cannot_be_run(open_page, names):
    at = open_page("run_live", technique=names)
    assert at.error[0].value == f"{' and '.join(names)} sample in different ways: use one of them."
    assert run_button(at).disabled


@pytest.mark.parametrize(
    ("address", "line"),
    [
        (
            {"technique": ["window_attention", "distillation"]},
            "distillation does not fit the network that window_attention leaves: block 0 is not that of a plain "
            "network any more: put distillation first.",
        ),
        (
            {"technique": "guidance_distillation", "guidance": "9"},
            "Distilled guidance knows scales from 1 to 6: set guidance to one of them, not 9.",
        ),
    ],
    ids=["stack", "guidance"],
)
def test_what_a_run_would_refuse_is_one_line_and_cannot_be_run(open_page, address, line):
    at = open_page("run_live", **address)
    assert at.error[0].value == line
    assert run_button(at).disabled
