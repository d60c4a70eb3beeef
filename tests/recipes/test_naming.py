"""Readable names of recipes."""

import pytest

from dit_core.recipes.naming import file_name
from dit_core.recipes.recipe import canonical
from dit_core.recipes.registry import registry


@pytest.mark.parametrize(
    ("recipe", "name"),
    [
        ([], "baseline"),
        ([{"name": "quantization"}], "quantization"),
        ([{"name": "quantization", "bits": 4, "method": "gptq"}], "quantization-bits4-method_gptq"),
        ([{"name": "depth_pruning", "keep": 6, "recover": "bundled"}], "depth_pruning-keep6-recovered"),
        ([{"name": "distillation", "width": 0.75}, {"name": "solver"}], "distillation-width0.75+solver"),
        ([{"name": "window_attention", "shift": False}], "window_attention-shift_false"),
    ],
)
def test_a_recipe_is_named_by_its_techniques_and_the_knobs_that_are_not_at_their_default(recipe, name):
    assert file_name(canonical(recipe)) == name


def test_a_knob_can_be_left_out():
    assert file_name([{"name": "distillation", "recover": "bundled"}], leave_out=("recover",)) == "distillation"


@pytest.mark.parametrize("name", registry())
def test_every_technique_at_its_defaults_is_named_by_its_name(name):
    assert file_name(canonical([{"name": name}])) == name


def test_a_technique_of_another_version_keeps_all_its_knobs():
    assert file_name([{"name": "gone", "ratio": 0.5}]) == "gone-ratio0.5"
