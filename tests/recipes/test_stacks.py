"""Stacks of techniques: what cannot work is refused with the reason, before anything is loaded or trained."""

import dataclasses
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch

from dit_core import sweeps
from dit_core.errors import BadRequest
from dit_core.experiment import prepare, run
from dit_core.experiment.checks import check
from dit_core.models import sources
from dit_core.models.sources import load_model
from dit_core.models.sources.folder import save_model
from dit_core.models.structure import Structure, structure_of
from dit_core.recipes import registry as techniques
from dit_core.recipes.context import Context
from dit_core.recipes.recipe import Recipe, apply_recipe
from dit_core.records.spec import RunSpec

CONTEXT = Context(torch.device("cpu"))
GUIDED = {"name": "guidance_distillation"}
NARROW = {"name": "width_pruning", "ffn": 0.5, "heads": 0.17}
MOE = {"name": "moe", "calibration": 8}
WINDOW = {"name": "window_attention"}
EXACT = {"ffn": 0.6, "multiple": 1}
ATTENTION = [name for name, found in techniques.registry().items() if found.family == "attention"]
IMPOSSIBLE: list[tuple[list[dict[str, Any]], str]] = [
    (
        [{"name": "depth_pruning", "keep": 4}, {"name": "depth_pruning", "keep": 6}],
        "the network after depth_pruning: it has 4 blocks, so keep cannot be 6: keep at most 4",
    ),
    ([{"name": "depth_pruning", "keep": 4}, MOE, {"name": "depth_pruning", "keep": 5}], "after moe: it has 4"),
    (
        [{"name": "distillation", "depth": 0.5}, {"name": "depth_pruning", "keep": 5}],
        "after distillation: it has 4 blocks",
    ),
    ([NARROW, {"name": "distillation"}], "block 0 was changed by another technique: put distillation first"),
    ([MOE, {"name": "distillation"}], "put distillation first"),
    ([WINDOW, {"name": "distillation"}], "put distillation first"),
    ([{**WINDOW, "layers": "last-half"}, {"name": "distillation"}], "block 4 was changed by another technique"),
    ([MOE, {"name": "width_pruning"}], "the neurons of block 0 belong to a Mixture: put width_pruning first or set"),
    (
        [WINDOW, NARROW],
        "the heads of block 0 belong to a WindowAttention: put width_pruning first or set heads to 0",
    ),
    ([GUIDED, GUIDED], "it takes the guidance scale already: distill guidance once"),
    ([{"name": "step_distillation"}, GUIDED], "it takes the guidance scale already: distill guidance once"),
    (
        [NARROW, {"name": "grouped_query_attention", "kv_heads": 2}],
        "after width_pruning: kv_heads 2 does not divide the 5 heads: use 1, 5",
    ),
    (
        [
            {"name": "distillation", "width": 0.67},
            {"name": "grouped_query_attention", "kv_heads": 3},
        ],
        "after distillation: kv_heads 3 does not divide the 4 heads: use 1, 2, 4",
    ),
    (
        [NARROW, {"name": "quantization", "group_size": 64}],
        r"group_size 64 does not divide the 160 inputs of blocks.0.attn.proj. Use 32.$",
    ),
    (
        [{"name": "width_pruning", **EXACT}, {"name": "quantization", "group_size": 64}],
        "the 307 inputs of blocks.0.mlp.fc2. No other size divides all layers.",
    ),
    ([{"name": "width_pruning", **EXACT}, {"name": "semi_structured_pruning"}], "the 307 inputs of blocks.0.mlp.fc2"),
    ([{"name": "width_pruning", **EXACT}, MOE], "experts 8 does not divide the 307 neurons of a block: use 1, 307"),
    ([MOE, MOE], "block 0 has a Mixture already: use moe once"),
    (
        [{**MOE, "layers": "alternate"}, {"name": "depth_pruning", "keep": 4}, {**MOE, "layers": "last-half"}],
        "has a Mixture already",  # it may: which blocks stay is measured
    ),
    ([{**WINDOW, "layers": "first-half"}, {**WINDOW, "layers": "alternate"}], "the attention of block 0 is a Window"),
    ([{"name": "quantization"}, MOE], "moe cannot follow quantization, which packs the weights: put it before"),
]
POSSIBLE: list[list[dict[str, Any]]] = [
    [{**WINDOW, "layers": "first-half"}, {"name": "pooled_attention", "layers": "last-half"}],
    [{**WINDOW, "layers": "alternate"}, {"name": "depth_pruning", "keep": 1, "importance": "even"}],
    [GUIDED, {"name": "step_distillation"}],
    [{"name": "step_distillation"}, {"name": "distillation"}],
    [{"name": "distillation", "width": 0.5}, {"name": "grouped_query_attention", "kv_heads": 2}],
    [{"name": "width_pruning", "heads": 0.0, "ffn": 0.5}, MOE, WINDOW],
    [MOE, {"name": "width_pruning", "heads": 0.5, "ffn": 0.0}, {"name": "depth_pruning", "keep": 1}],
    [{"name": "width_pruning"}, {"name": "width_pruning", "ffn": 0.25}, GUIDED, {"name": "moe", "shared": 1, **MOE}],
]


def named(recipe: Any) -> str:
    return " + ".join(entry["name"] for entry in recipe) if isinstance(recipe, list) else ""


@pytest.fixture
def _nothing_loads(monkeypatch):
    monkeypatch.setattr(prepare, "load_model", lambda *_: pytest.fail("loaded"))


@pytest.mark.parametrize("name", ATTENTION)
def test_attention_is_replaced_once_in_a_block(name):
    with pytest.raises(BadRequest, match="a WindowAttention: use one attention technique for a block"):
        check(RunSpec(techniques=(WINDOW, {"name": name})))


@pytest.mark.usefixtures("_nothing_loads")
@pytest.mark.parametrize(("recipe", "reason"), IMPOSSIBLE, ids=named)
def test_a_stack_that_cannot_work_is_refused_with_the_reason_before_anything_is_loaded(recipe, reason):
    with pytest.raises(BadRequest, match=reason) as error:
        run.run(RunSpec(techniques=recipe))
    assert "\n" not in str(error.value)


def test_every_stack_of_the_bundled_records_is_accepted():
    specs = [spec for file in ("grid", "scale") for spec in sweeps.read_grid(Path(f"dit_core/sweeps/{file}.toml"))]
    assert len(specs) > 100
    for spec in specs:
        check(spec)


def test_every_recovery_that_is_bundled_is_accepted():
    for entry in tomllib.loads(Path("dit_core/training/configs/emoji-recovered.toml").read_text())["recoveries"]:
        check(RunSpec(techniques=entry["techniques"]))


@pytest.mark.parametrize("recipe", POSSIBLE, ids=named)
def test_what_a_stack_is_said_to_leave_is_what_it_leaves(recipe, tiny_model):
    told = Recipe.parse(recipe).check(Structure.of(tiny_model.config.dit), "cpu")
    assert told == structure_of(apply_recipe(tiny_model.dit, recipe, CONTEXT))


def test_blocks_that_measuring_chooses_are_taken_for_changed_ones(tiny_model):
    recipe = [{**WINDOW, "layers": "alternate"}, {"name": "depth_pruning", "keep": 1, "importance": "influence"}]
    told = Recipe.parse(recipe).check(Structure.of(tiny_model.config.dit), "cpu")
    assert told is not None
    assert told.blocks[0].attention == "WindowAttention"


@pytest.mark.usefixtures("_nothing_loads")
@pytest.mark.parametrize("before", [GUIDED, {"name": "step_distillation"}], ids=lambda entry: entry["name"])
@pytest.mark.parametrize(
    ("workload", "line"),
    [
        ({"guidance_channels": 3}, "acts on all channels: set guidance_channels to 0"),
        ({"guidance": 7.5}, "trained for scales from 1 to 6: set guidance in this range, not to 7.5"),
        ({"guidance": 0.5}, "trained for scales from 1 to 6: set guidance in this range, not to 0.5"),
    ],
)
def test_guidance_that_a_student_has_not_learned_is_refused(before, workload, line):
    with pytest.raises(BadRequest, match=line):
        run.run(RunSpec(techniques=(before,), **workload))
    check(RunSpec(**workload))


def test_guidance_at_both_ends_of_what_was_learned_is_accepted():
    for guidance in (1.0, 6.0):
        check(RunSpec(techniques=(GUIDED,), guidance=guidance))


def test_an_exported_network_is_known_for_what_it_is_before_it_is_loaded(tiny_model, tmp_path):
    stacks = {
        "narrow": [{"name": "width_pruning", "heads": 0.25}],
        "packed": [{"name": "quantization", "group_size": 32}],
    }
    for name, recipe in stacks.items():
        save_model(tiny_model.with_dit(apply_recipe(tiny_model.dit, recipe, CONTEXT)), tmp_path / name)
        assert sources.find(str(tmp_path / name)).structure == structure_of(load_model(str(tmp_path / name)).dit)
    for name, entry, line in (
        ("narrow", {"name": "distillation"}, "put distillation first"),
        ("narrow", {"name": "grouped_query_attention"}, "kv_heads 2 does not divide the 3 heads"),
        ("packed", {"name": "depth_pruning", "keep": 1}, "its weights are packed"),
        ("packed", {"name": "quantization", "group_size": 32}, "its weights are packed"),
    ):
        with pytest.raises(BadRequest, match=line):
            check(RunSpec(model=str(tmp_path / name), techniques=(entry,)))
    check(RunSpec(model=str(tmp_path / "narrow"), techniques=({"name": "grouped_query_attention", "kv_heads": 3},)))
    check(RunSpec(model=str(tmp_path / "packed"), techniques=({"name": "solver"},)))


def test_an_outline_that_is_none_is_refused(tiny_model, tmp_path):
    pruned = apply_recipe(tiny_model.dit, [{"name": "width_pruning"}], CONTEXT)
    save_model(tiny_model.with_dit(pruned), tmp_path / "model", {"outline": {"blocks": [{"colour": 1}]}})
    with pytest.raises(BadRequest, match="has an invalid outline"):
        check(RunSpec(model=str(tmp_path / "model")))


def test_a_network_of_another_depth_has_a_size_to_match():
    network = Structure.of(dataclasses.replace(sources.find("emoji").size, depth=3))  # type: ignore[type-var]
    assert network.with_blocks(network.blocks[:2]).size.depth == 2
