import pickle
from typing import Any

import pytest
import torch
from torch import nn

from dit_core import techniques
from dit_core.errors import BadRequest
from dit_core.models import networks
from dit_core.models.model import load_model, save_model
from dit_core.techniques import Context

CONTEXT = Context(torch.device("cpu"))
RECIPES: list[list[dict[str, Any]]] = [
    [{"name": "quantization", "bits": 3}],
    [{"name": "unstructured_pruning", "sparsity": 0.7}],
    [{"name": "width_pruning", "ffn": 0.5, "heads": 0.5}, {"name": "quantization", "bits": 4, "group_size": 32}],
    [{"name": "depth_pruning", "keep": 1}],
    [{"name": "grouped_query_attention", "kv_heads": 2}],
    [{"name": "moe", "experts": 4, "top_k": 2}],
    [{"name": "guidance_distillation"}],
    [{"name": "distillation", "width": 0.5}],
]


def output(dit):
    x = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        return dit(x, torch.tensor([3, 700]), torch.tensor([0, 3]))


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe[0]["name"])
def test_what_techniques_leave_is_saved_and_loaded_as_it_is(tiny_model, tmp_path, recipe):
    optimized = techniques.apply_recipe(tiny_model.dit, recipe, CONTEXT)
    save_model(tiny_model.with_dit(optimized), tmp_path / "model")
    loaded = load_model(str(tmp_path / "model"))
    plain = (tmp_path / "model" / "dit.safetensors").exists()
    assert plain == networks.is_plain(optimized)
    torch.testing.assert_close(output(loaded.dit), output(optimized), atol=5e-3 if plain else 0, rtol=0)


def test_only_an_unchanged_structure_is_plain(tiny_model):
    assert networks.is_plain(tiny_model.dit)
    assert not networks.is_plain(nn.Linear(2, 2))


def test_a_file_that_would_run_code_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return print, ("code ran",)

    torch.save(Evil(), tmp_path / "evil.pt", pickle_module=pickle)
    with pytest.raises(BadRequest, match="more than a network"):
        networks.read_network(tmp_path / "evil.pt")
    torch.save({"a": torch.zeros(1)}, tmp_path / "state.pt")
    with pytest.raises(BadRequest, match="holds no network"):
        networks.read_network(tmp_path / "state.pt")


def test_a_truncated_file_is_refused(tiny_model, tmp_path):
    networks.write_network(tiny_model.dit, tmp_path / "network.pt")
    (tmp_path / "network.pt").write_bytes((tmp_path / "network.pt").read_bytes()[:1000])
    with pytest.raises(BadRequest, match="damaged"):
        networks.read_network(tmp_path / "network.pt")


def test_what_no_file_can_hold_is_refused_with_its_name(tiny_model, tmp_path):
    network: Any = techniques.apply_recipe(tiny_model.dit, [{"name": "depth_pruning", "keep": 1}], CONTEXT)
    network.blocks[0].mlp.act = nn.Tanh()
    with pytest.raises(BadRequest, match=r"blocks\.0\.mlp\.act is a Tanh, which cannot be exported"):
        networks.write_network(network, tmp_path / "network.pt")
