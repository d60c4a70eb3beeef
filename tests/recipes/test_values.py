"""Values of a knob for a sweep."""

import pytest

from dit_core.errors import BadRequest
from dit_core.recipes.knobs import Knob
from dit_core.recipes.registry import registry
from dit_core.recipes.values import first, offered, read


def knob(technique: str, name: str) -> Knob:
    return next(knob for knob in registry()[technique].knobs if knob.name == name)


@pytest.mark.parametrize(
    ("technique", "name", "values"),
    [
        ("quantization", "bits", [2, 3, 4, 5, 6, 7, 8]),
        ("quantization", "group_size", [32, 64, 128, 256]),
        ("window_attention", "shift", [False, True]),
        ("depth_pruning", "recover", ["none", "bundled"]),
        ("distillation", "depth", [0.1, 0.15, 0.2]),
        ("mediated_attention", "mediators", [1, 2, 4, 5]),
    ],
)
def test_values_come_from_choices_or_from_the_range(technique, name, values):
    found = knob(technique, name)
    assert offered(found, found.default)[: len(values)] == values


def test_every_value_that_is_offered_is_one_that_the_knob_takes():
    for technique in registry().values():
        for each in technique.knobs:
            values = offered(each, each.default)
            assert each.default in values
            assert len(values) == len(set(values)) <= 65
            assert [read(technique.name, each, str(value)) for value in values] == values


def test_a_start_goes_from_one_end_to_the_other_and_through_the_present_value():
    assert first([2, 3, 4], 3) == [2, 3, 4]
    assert first(range(1, 29), 28) == [1, 8, 15, 21, 28]
    assert first(range(1, 29), 7) == [1, 7, 15, 21, 28]
    assert first(range(1, 29), 99) == [1, 8, 15, 21, 28]
    assert first(range(1, 29), 2, most=3) == [1, 2, 28]


@pytest.mark.parametrize(
    ("technique", "name", "text", "refusal"),
    [
        ("quantization", "bits", "9", "quantization: bits must be between 2 and 8, got 9."),
        ("quantization", "bits", "4.5", "quantization: bits must be a whole number, got '4.5'."),
        ("quantization", "group_size", "7", "quantization: group_size must be one of 32, 64, 128, 256, got 7."),
        ("distillation", "depth", "nan", "distillation: depth must be between 0.1 and 1.0, got nan."),
        ("distillation", "depth", "half", "distillation: depth must be a number, got 'half'."),
        ("window_attention", "shift", "maybe", "window_attention: shift must be yes or no, got 'maybe'."),
        ("depth_pruning", "recover", "some", "depth_pruning: recover must be none, bundled or a number"),
    ],
)
def test_a_typed_value_that_no_run_can_have_is_refused_in_one_line(technique, name, text, refusal):
    with pytest.raises(BadRequest, match=refusal.replace("(", r"\(")) as failure:
        read(technique, knob(technique, name), text)
    assert "\n" not in str(failure.value)


def test_typed_values_are_read_as_the_knob_has_them():
    assert read("distillation", knob("distillation", "depth"), " 1 ") == 1.0
    assert read("window_attention", knob("window_attention", "shift"), "Yes") is True
    assert read("depth_pruning", knob("depth_pruning", "recover"), "300") == "300"
