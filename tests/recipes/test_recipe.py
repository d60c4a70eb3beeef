"""A recipe is parsed once, and answers all questions about it."""

import pytest
import torch

from dit_core.errors import BadRequest
from dit_core.experiment import prepare
from dit_core.models import recovered
from dit_core.models.presets import DiTConfig
from dit_core.models.structure import Structure
from dit_core.recipes.context import Context
from dit_core.recipes.recipe import Recipe, apply_recipe, canonical, parse_argument, recover_by_default
from dit_core.recipes.registry import Technique, registry
from dit_core.records.spec import RunSpec
from dit_core.sampling.config import SamplingConfig

SOLVER = {"name": "solver", "scheduler": "ddim", "steps": 3}
PRUNED = {"name": "depth_pruning", "keep": 1, "importance": "even"}


@pytest.fixture
def parses(monkeypatch):
    """The names of the techniques whose configuration was parsed."""
    names, parse = [], Technique.parse

    def count(technique, knobs):
        names.append(technique.name)
        return parse(technique, knobs)

    monkeypatch.setattr(Technique, "parse", count)
    return names


def test_a_spec_is_parsed_once(parses):
    spec = RunSpec(techniques=({"name": "quantization", "bits": 5, "group_size": 32},))
    for _ in range(3):
        recipe = Recipe.of(spec)
        recipe.check(Structure.of(DiTConfig()), "cpu")
        recipe.sampling(SamplingConfig.of(spec))
    assert parses in ([], ["quantization"])  # empty if another test of this process parsed the same spec


def test_nothing_is_parsed_in_the_timed_workload(monkeypatch, tiny_model, parses):
    monkeypatch.setattr(prepare, "load_model", lambda name, device: tiny_model)
    prepared = prepare.prepare(RunSpec(techniques=(PRUNED, SOLVER), steps=4, batch_size=2))
    asked = []
    original = Recipe.parse.__func__  # type: ignore[attr-defined]
    monkeypatch.setattr(Recipe, "parse", classmethod(lambda cls, entries: asked.append(1) or original(cls, entries)))
    parses.clear()
    prepared.generate_once()
    prepared.generate_once(prepared.baseline)
    assert parses == asked == []


def test_equal_values_of_different_types_are_not_confused():
    Recipe.parse([{"name": "window_attention", "shift": True}])
    with pytest.raises(BadRequest, match="shift must be true or false, got 1"):
        Recipe.parse([{"name": "window_attention", "shift": 1}])


def test_a_recipe_cannot_be_changed_by_the_entries_it_came_from_or_gives():
    entries = [dict(SOLVER)]
    recipe = Recipe.parse(entries)
    entries[0]["steps"] = 9
    recipe.to_dicts()[0]["steps"] = 9
    assert recipe.to_dicts()[0]["steps"] == 3


def test_a_recipe_describes_itself():
    recipe = Recipe.parse([PRUNED, {"name": "quantization"}])
    assert [technique.name for technique, _ in recipe] == ["depth_pruning", "quantization"]
    assert recipe.label == "Depth pruning + Quantization"
    assert Recipe().label == "Baseline"
    assert recipe.key == recovered.key(canonical([PRUNED, {"name": "quantization"}]))
    assert recipe.terminal
    assert not Recipe.parse([PRUNED]).terminal
    assert Recipe.parse([{**PRUNED, "recover": "20"}]).trains
    assert not Recipe.parse([{**PRUNED, "recover": "bundled"}]).trains
    assert list(Recipe.parse([{**PRUNED, "importance": "learned"}]).needs_images) == ["depth_pruning"]
    assert Recipe.parse([PRUNED]) == Recipe.parse([{**PRUNED, "recover": "none"}])
    assert not Recipe()


def test_techniques_change_the_sampling_as_a_whole():
    base = SamplingConfig("unipc", 12, guidance=4.0, guidance_channels=3)
    assert Recipe.parse([PRUNED]).sampling(base) == base
    assert not Recipe.parse([PRUNED]).sets_sampling
    solved = Recipe.parse([SOLVER, PRUNED])
    assert solved.sampling(base) == SamplingConfig("ddim", 3, guidance=4.0, guidance_channels=3)
    assert solved.sets_sampling


def test_two_techniques_that_agree_on_the_sampling_can_be_stacked():
    recipe = Recipe.parse([{"name": "solver", "scheduler": "ddim", "steps": 4}, {"name": "step_distillation"}])
    assert recipe.sampling(SamplingConfig()).steps == 4


@pytest.mark.parametrize("order", [1, -1])
def test_techniques_that_disagree_are_refused_even_if_one_agrees_with_the_run(order):
    entries = [{"name": "solver", "scheduler": "ddim", "steps": 4}, {"name": "step_distillation", "steps": 2}]
    with pytest.raises(BadRequest, match="sample in different ways"):
        Recipe.parse(entries[::order]).sampling(SamplingConfig("ddim", 4))


def test_the_public_function_applies_plain_entries(tiny_model):
    network = apply_recipe(tiny_model.dit, [PRUNED], Context(torch.device("cpu")))
    assert len(network.blocks) == 1  # type: ignore[arg-type]
    assert len(tiny_model.dit.blocks) == 2


@pytest.mark.parametrize("name", registry())
def test_every_technique_is_read_from_the_command_line_as_from_a_file(name):
    (entry,) = canonical([{"name": name}])
    text = ",".join(f"{knob}={value}" for knob, value in entry.items() if knob != "name")
    assert canonical([parse_argument(f"{name}:{text}")]) == (entry,)


def test_recovery_is_bundled_by_default_only_where_weights_exist_and_only_where_it_is_left_out():
    def recovery(model, *entries):
        return [entry.get("recover") for entry in recover_by_default(model, entries)]

    half = {"name": "depth_pruning", "keep": 4}
    assert recovery("emoji", half) == ["bundled"]
    assert recovery("emoji", {**half, "keep": 5}) == ["none"]
    assert recovery("emoji", {**half, "recover": "none"}) == ["none"]
    assert recovery("emoji", half, {"name": "guidance_distillation"}, {"name": "quantization"}) == ["bundled"] * 2 + [
        None
    ]
    assert recovery("random:DiT-S/2@256", half) == ["none"]
    assert [entry.get("recover") for entry in canonical([half])] == ["none"]


@pytest.mark.parametrize(
    ("entries", "names"),
    [
        ([{"name": "depth_pruning", "keep": 4}, {"name": "quantization"}], ("depth_pruning",)),
        ([{"name": "depth_pruning", "keep": 4, "recover": "bundled"}], ()),
        ([{"name": "depth_pruning", "keep": 4, "recover": "500"}], ()),
        ([{"name": "unstructured_pruning"}], ("unstructured_pruning",)),
        ([{"name": "quantization"}, {"name": "compilation"}], ()),
        ([], ()),
    ],
)
def test_a_recipe_names_what_was_not_retrained(entries, names):
    assert Recipe.parse(entries).not_retrained == names
