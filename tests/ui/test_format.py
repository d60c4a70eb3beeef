"""Numbers and names as a person reads them."""

import pytest

from dit_core.recipes.recipe import canonical
from dit_core.records.spec import RunSpec
from dit_core.ui import format


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0421, "42.1 ms"), (0.9996, "1,000 ms"), (1.234, "1.23 s"), (125, "2 min 5 s"), (None, format.UNKNOWN)],
)
def test_seconds(value, text):
    assert format.seconds(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0 B"), (999, "999 B"), (999_600, "1.00 MB"), (18_437_000, "18.4 MB"), (5e9, "5.00 GB")]
)
def test_sizes(value, text):
    assert format.size(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(1930.4, "1,930"), (42.12, "42.1"), (0.01234, "0.0123"), (0, "0"), (-0.5, "-0.500"), (9.999, "10.0")],
)
def test_three_significant_digits(value, text):
    assert format.significant(value) == text


@pytest.mark.parametrize(
    ("value", "base", "text"), [(52, 100, "-48 %"), (100.01, 100, 0), (1, None, None), (None, 1, None), (1, 0, None)]
)
def test_changes(value, base, text):
    assert format.change(value, base) == text


def test_a_crowded_plot_names_what_tells_the_runs_apart():
    specs = [RunSpec()] + [
        RunSpec(techniques=canonical([{"name": "quantization", **knobs}]))
        for knobs in ({}, {"bits": 4}, {"bits": 4, "group_size": 32}, {"mode": "dynamic-int8"})
    ]
    assert format.short_titles(specs) == ["Baseline", "bits 8", "bits 4", "bits 4, group size 32", "dynamic-int8"]


def test_a_technique_that_this_version_does_not_have_keeps_its_name():
    spec = RunSpec(techniques=({"name": "future", "knob": 1},))
    assert format.title(spec) == "future: knob 1"
    assert format.family(spec) == "other"


def test_a_recipe_of_two_families_is_a_stack():
    spec = RunSpec(techniques=(*canonical([{"name": "quantization"}]), {"name": "future"}))
    assert format.family(spec) == "stack"
    assert format.recipe(spec) == "Quantization + future"


def test_a_brief_title_names_the_technique_once():
    specs = [RunSpec()] + [RunSpec(techniques=canonical([{"name": "quantization", "bits": bits}])) for bits in (8, 4)]
    assert format.brief_titles(specs) == ["Baseline", "Quantization, bits 8", "Quantization, bits 4"]
    assert format.brief_titles(specs[1:2]) == ["Quantization"]


def test_a_brief_title_of_a_stack_names_each_technique_with_its_knobs():
    cut = {"name": "depth_pruning", "keep": 6, "recover": "bundled"}
    recipes = [[cut], [{**cut, "keep": 4}, {"name": "quantization", "bits": 4}], [{"name": "quantization", "bits": 8}]]
    titles = format.brief_titles([RunSpec(techniques=canonical(recipe)) for recipe in recipes])
    assert titles[1] == "Depth pruning, keep 4 + Quantization, bits 4"


def test_bundled_weights_are_taken_for_granted_beside_others():
    told = [{"name": "depth_pruning", "keep": 4, "recover": how} for how in ("bundled", "none", "200")]
    titles = format.short_titles([RunSpec(techniques=canonical([entry])) for entry in told])
    assert titles == ["Depth pruning", "not retrained", "200 steps of recovery"]


def test_a_knob_that_is_left_unwritten_at_its_default_still_tells_runs_apart():
    recipes = [[{"name": "moe"}], [{"name": "moe", "expert_size": 48}]]
    titles = format.brief_titles([RunSpec(techniques=canonical(recipe)) for recipe in recipes])
    assert titles == ["Mixture of experts", "Mixture of experts, expert size 48"]
