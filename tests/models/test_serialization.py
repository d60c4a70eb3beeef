import pickle
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from dit_core.errors import BadRequest
from dit_core.models import serialization
from dit_core.models.model import build_dit
from dit_core.models.sources import load_model
from dit_core.models.sources.folder import save_model
from dit_core.recipes import registry as techniques
from dit_core.recipes.context import Context
from dit_core.recipes.recipe import apply_recipe

pytestmark = pytest.mark.slow

CONTEXT = Context(torch.device("cpu"))
LISTED: list[list[dict[str, Any]]] = [
    [{"name": "quantization", "bits": 3}],
    [{"name": "quantization", "mode": "dynamic-int8"}],
    [{"name": "quantization", "mode": "float16"}],
    [{"name": "quantization", "mode": "bfloat16"}],
    [{"name": "quantization", "mode": "mixed", "bits": 4, "calibration": 4}],
    [{"name": "unstructured_pruning", "sparsity": 0.7}],
    [{"name": "semi_structured_pruning"}],
    [{"name": "semi_structured_pruning", "values": "float16"}],
    [{"name": "width_pruning", "ffn": 0.5, "heads": 0.5}, {"name": "quantization", "bits": 4, "group_size": 32}],
    [{"name": "width_pruning", "ffn": 0.5}],
    [{"name": "depth_pruning", "keep": 1}],
    [{"name": "distillation", "width": 0.5}],
    [{"name": "guidance_distillation"}],
    [{"name": "step_distillation"}],
    [{"name": "solver"}],
    [{"name": "grouped_query_attention", "kv_heads": 2}],
    [{"name": "focused_group_query_attention", "kv_heads": 2}],
    [{"name": "focused_linear_attention", "layers": "alternate"}],
    [{"name": "mediated_attention"}],
    [{"name": "mediated_attention", "steps": 0.5}],
    [{"name": "window_attention"}],
    [{"name": "pooled_attention"}],
    [{"name": "feature_caching", "method": "schedule"}, {"name": "quantization"}],
    [{"name": "moe", "experts": 4, "top_k": 2, "calibration": 8}],
    [{"name": "moe", "experts": 4, "top_k": 1, "shared": 1, "calibration": 8}, {"name": "quantization"}],
    [{"name": "moe", "experts": 4, "top_k": 2, "calibration": 8}, {"name": "quantization", "mode": "bfloat16"}],
]
NAMED = {entry["name"] for recipe in LISTED for entry in recipe}
RECIPES = [*LISTED, *([{"name": name}] for name in techniques.registry() if name not in NAMED)]
ROUNDED = 5e-3  # what float16 changes in an output


def named(recipe: list[dict[str, Any]]) -> str:
    return " + ".join(f"{entry['name']} {entry.get('mode', '')}".strip() for entry in recipe)


def output(dit):
    x = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        return dit(x, torch.tensor([3, 700]), torch.tensor([0, 3]))


@pytest.mark.parametrize("recipe", RECIPES, ids=named)
def test_what_techniques_leave_is_saved_and_loaded_as_it_is(tiny_model, tmp_path, recipe):
    optimized = apply_recipe(tiny_model.dit, recipe, CONTEXT)
    expected = output(optimized)
    save_model(tiny_model.with_dit(optimized), tmp_path / "model")
    loaded = load_model(str(tmp_path / "model"))
    plain = (tmp_path / "model" / "dit.safetensors").exists()
    assert plain == serialization.is_plain(optimized)
    assert torch.equal(output(optimized), expected)  # what is saved stays as it is
    torch.testing.assert_close(output(loaded.dit), expected, atol=ROUNDED, rtol=0)
    if not plain:
        types = [{name: value.dtype for name, value in one.state_dict().items()} for one in (loaded.dit, optimized)]
        assert types[0] == types[1]
    save_model(tiny_model.with_dit(loaded.dit), tmp_path / "again")
    assert torch.equal(output(load_model(str(tmp_path / "again")).dit), output(loaded.dit))


@pytest.mark.parametrize(
    ("entry", "most"),
    [
        ({"name": "unstructured_pruning", "sparsity": 0.5}, 0.70),
        ({"name": "semi_structured_pruning"}, 0.70),
        ({"name": "width_pruning", "ffn": 0.5, "heads": 0.5}, 0.75),
        ({"name": "quantization", "mode": "dynamic-int8"}, 0.70),
        ({"name": "grouped_query_attention", "kv_heads": 1}, 0.95),
    ],
    ids=lambda value: value["name"] if isinstance(value, dict) else "",
)
def test_bytes_on_disk_really_shrink(tiny_model, tmp_path, entry, most):
    network = build_dit(replace(tiny_model.config.dit, hidden_size=128, depth=3), seed=0)
    sizes = []
    for name, recipe in (("dense", []), ("small", [entry])):
        changed = apply_recipe(network, recipe, CONTEXT)
        save_model(tiny_model.with_dit(changed), tmp_path / name)
        sizes.append(
            max(file.stat().st_size for file in (tmp_path / name).iterdir() if file.stem in ("dit", "network"))
        )
    assert sizes[1] < most * sizes[0]


def test_codes_scales_routers_and_smaller_types_are_written_bit_by_bit(tiny_model, tmp_path):
    for recipe in (
        [{"name": "quantization", "bits": 3}],
        [{"name": "quantization", "mode": "dynamic-int8"}],
        next(recipe for recipe in LISTED if recipe[0]["name"] == "moe"),
    ):
        network = apply_recipe(tiny_model.dit, recipe, CONTEXT)
        serialization.write_network(network, tmp_path / "network.pt")
        before, after = network.state_dict(), serialization.read_network(tmp_path / "network.pt").state_dict()
        kept = [name for name in before if any(part in name for part in ("codes", "scale", "zero", "router"))]
        assert kept
        assert all(torch.equal(before[name], after[name]) for name in kept)
        assert all(
            torch.equal(before[name].half().to(before[name]), after[name]) for name in before if name not in kept
        )


def test_a_weight_that_float16_cannot_hold_stays_as_it_is(tiny_model, tmp_path):
    network: Any = apply_recipe(tiny_model.dit, [{"name": "depth_pruning", "keep": 1}], CONTEXT)
    network.blocks[0].mlp.act = nn.SiLU()
    network.blocks[0].mlp.fc1.bias.data[0] = 1e6
    serialization.write_network(network, tmp_path / "network.pt")
    assert serialization.read_network(tmp_path / "network.pt").get_parameter("blocks.0.mlp.fc1.bias")[0] == 1e6


def test_a_file_from_before_float16_is_read(tiny_model, tmp_path):
    torch.save(tiny_model.dit, tmp_path / "network.pt")
    assert torch.equal(output(serialization.read_network(tmp_path / "network.pt")), output(tiny_model.dit))


def test_only_an_unchanged_structure_is_plain(tiny_model):
    assert serialization.is_plain(tiny_model.dit)
    assert not serialization.is_plain(nn.Linear(2, 2))


def test_a_file_that_would_run_code_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return print, ("code ran",)

    torch.save(Evil(), tmp_path / "evil.pt", pickle_module=pickle)
    with pytest.raises(BadRequest, match="more than a network"):
        serialization.read_network(tmp_path / "evil.pt")
    torch.save({"a": torch.zeros(1)}, tmp_path / "state.pt")
    with pytest.raises(BadRequest, match="holds no network"):
        serialization.read_network(tmp_path / "state.pt")


def test_a_truncated_file_is_refused(tiny_model, tmp_path):
    serialization.write_network(tiny_model.dit, tmp_path / "network.pt")
    (tmp_path / "network.pt").write_bytes((tmp_path / "network.pt").read_bytes()[:1000])
    with pytest.raises(BadRequest, match="damaged"):
        serialization.read_network(tmp_path / "network.pt")


def test_what_no_file_can_hold_is_refused_with_its_name(tiny_model, tmp_path):
    network: Any = apply_recipe(tiny_model.dit, [{"name": "depth_pruning", "keep": 1}], CONTEXT)
    network.blocks[0].mlp.act = nn.Tanh()
    with pytest.raises(BadRequest, match=r"blocks\.0\.mlp\.act is a Tanh, which cannot be exported"):
        serialization.write_network(network, tmp_path / "network.pt")
