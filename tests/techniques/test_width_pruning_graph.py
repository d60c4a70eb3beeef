"""What plain slicing cuts, against the dependency graph that Torch-Pruning (arXiv 2301.12900) traces of the network."""

import copy
import warnings
from typing import Any

import pytest
import torch
import torch_pruning
from torch import nn

from dit_core.models.dit import DiT, DiTConfig
from dit_core.models.model import build_dit
from dit_core.techniques.width_pruning import keep_heads, keep_neurons

WIDTH, HEADS, DEPTH = 32, 4, 3
HEAD = WIDTH // HEADS
ROWS, COLUMNS = "prune_out_channels", "prune_in_channels"


@pytest.fixture
def dit() -> DiT:
    """The bundled model's shape at a smaller width and depth; weights as drawn tell every unit from the others."""
    return build_dit(DiTConfig(8, 2, 8, WIDTH, DEPTH, HEADS, 4.0, 3, learn_sigma=False), seed=1)


def traced(dit: DiT) -> torch_pruning.DependencyGraph:
    inputs = torch.randn(2, 8, 8, 8), torch.tensor([1, 900]), torch.tensor([0, 3])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # pos_embed is a parameter of no layer
        return torch_pruning.DependencyGraph().build_dependency(dit.requires_grad_(True), inputs)


def group(dit: DiT, layer: str, units: list[int]) -> Any:
    """What has to go where these outputs of a layer go."""
    return traced(dit).get_pruning_group(dit.get_submodule(layer), torch_pruning.prune_linear_out_channels, idxs=units)


def cut(dit: DiT, found: Any) -> dict[tuple[str, str], list[int]]:
    """Rows and columns of layers with weights that a group takes, by layer; what has none only passes them on."""
    names = {module: name for name, module in dit.named_modules()}
    return {
        (names[item.dep.layer], item.dep.handler.__name__): sorted(item.idxs)
        for item in found
        if isinstance(item.dep.layer, (nn.Linear, nn.Conv2d, nn.Embedding))
    }


@pytest.mark.parametrize("block", range(DEPTH))
def test_a_neuron_reaches_a_row_of_fc1_and_a_column_of_fc2_and_nothing_else(dit, block):
    mlp = f"blocks.{block}.mlp"
    assert cut(dit, group(dit, f"{mlp}.fc1", [5])) == {(f"{mlp}.fc1", ROWS): [5], (f"{mlp}.fc2", COLUMNS): [5]}


@pytest.mark.parametrize("block", range(DEPTH))
def test_a_head_reaches_its_rows_of_q_k_and_v_and_its_columns_of_proj_and_nothing_else(dit, block):
    attention, head = f"blocks.{block}.attn", list(range(HEAD, 2 * HEAD))
    rows = [part * WIDTH + unit for part in range(3) for unit in head]
    found = cut(dit, group(dit, f"{attention}.qkv", head))
    assert found == {(f"{attention}.qkv", ROWS): rows, (f"{attention}.proj", COLUMNS): head}


def test_slicing_leaves_the_weights_that_the_graph_leaves(dit):
    by_graph, by_slices = copy.deepcopy(dit), copy.deepcopy(dit)
    group(by_graph, "blocks.1.mlp.fc1", [3, 70]).prune()
    group(by_graph, "blocks.1.attn.qkv", list(range(2 * HEAD, 3 * HEAD))).prune()
    block: Any = by_slices.blocks[1]
    keep_neurons(block.mlp, torch.tensor([i for i in range(4 * WIDTH) if i not in (3, 70)]))
    keep_heads(block.attn, torch.tensor([0, 1, 3]))
    wanted, found = by_graph.state_dict(), by_slices.state_dict()
    assert wanted.keys() == found.keys()
    assert all(torch.equal(value, found[name]) for name, value in wanted.items())
    assert found["blocks.1.attn.qkv.weight"].shape == (3 * (WIDTH - HEAD), WIDTH)


def test_a_channel_of_the_width_would_reach_into_every_block(dit):
    reached = {name for name, _ in cut(dit, group(dit, "blocks.0.mlp.fc2", [5]))}
    assert {f"blocks.{block}.{layer}" for block in range(DEPTH) for layer in ("attn.qkv", "mlp.fc1")} <= reached
