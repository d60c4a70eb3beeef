"""Pruning: zeros and lost weight of each layer, and the importance of heads, neurons and blocks."""

from typing import Any

import torch

from dit_core.compression.calibration import Inputs, calibration, input_features
from dit_core.inside import Panel, scenes
from dit_core.models.layers import linear_layers
from dit_core.models.model import Model
from dit_core.recipes.context import Context
from dit_core.recipes.recipe import apply_recipe
from dit_core.techniques import depth_pruning, width_pruning

SPARSITIES = (0.3, 0.5, 0.7, 0.9)
SCOPES = ("layer", "global")
STEPS = 20  # points of a curve over the neurons
INPUTS = 64


@torch.no_grad()
def panel(model: Model, context: Context) -> Panel:
    """Compute zeros and lost weight of every layer, and the importance of heads, neurons and blocks."""
    inputs = calibration(model.dit, context, INPUTS)
    cuts = {
        f"{scope} {sparsity}": {"name": "unstructured_pruning", "sparsity": sparsity, "scope": scope}
        for sparsity in SPARSITIES
        for scope in SCOPES
    }
    cuts["2:4"] = {"name": "semi_structured_pruning"}
    pruned = {key: apply_recipe(model.dit, [entry], context) for key, entry in cuts.items()}
    rows = [scenes.drawn(model.with_dit(network), context.seed) for network in pruned.values()]
    return Panel(
        {
            "sparsities": SPARSITIES,
            "scopes": SCOPES,
            "zeros": {key: zeros(model.dit, network) for key, network in pruned.items()},
            "units": units(model.dit, inputs, context),
            "blocks": blocks(model.dit, inputs, context),
            "inputs": len(inputs[0]),
        },
        {"samples": scenes.sheet([scenes.drawn(model, context.seed), *rows])},
    )


def zeros(before: Any, after: Any) -> dict[str, dict[str, float]]:
    """Return, by layer, the share of weights that are zero and the share of the squared norm that was removed."""
    found = {}
    for name, layer in linear_layers(before, "outer").items():
        old, new = layer.weight, after.get_submodule(name).weight
        gone = (new == 0).float()
        found[name] = {
            "zeros": gone.mean().item(),
            "lost": ((old.square() * gone).sum() / old.square().sum()).item(),
        }
    return found


def units(dit: Any, inputs: Inputs, context: Context) -> dict[str, Any]:
    """Return the importance of each head (blocks, heads), and cumulative curves over the neurons, strongest first.

    Importance is that of width pruning: the root mean square of a unit's contribution to its branch. The curves give
    the share of the squares in the strongest 0, 5, ... 100 % of the neurons.
    """
    cuts, depth = {}, len(dit.blocks)
    for index, block in enumerate(dit.blocks):
        heads, neurons = block.attn.num_heads, block.mlp.fc1.out_features
        cuts[f"blocks.{index}.attn.proj"] = width_pruning.Cut("qkv", heads, heads, width_pruning.keep_heads)
        cuts[f"blocks.{index}.mlp.fc2"] = width_pruning.Cut("fc1", neurons, neurons, width_pruning.keep_neurons)
    features = input_features(dit, list(cuts), inputs)
    found = width_pruning.activation(dit, cuts, features, inputs, context)
    curves = []
    for index in range(depth):
        squares = found[f"blocks.{index}.mlp.fc2"].square().sort(descending=True).values
        total = torch.cat([squares.new_zeros(1), squares.cumsum(0)]) / squares.sum()
        curves.append(total[[round(step * len(squares) / STEPS) for step in range(STEPS + 1)]].tolist())
    heads = [found[f"blocks.{index}.attn.proj"].tolist() for index in range(depth)]
    return {"heads": heads, "neurons": curves}


def blocks(dit: Any, inputs: Inputs, context: Context) -> dict[str, Any]:
    """Return each block's influence, the relative output error without it, and the half that each criterion keeps."""
    every = list(range(len(dit.blocks)))
    whole = depth_pruning.outputs(dit, every, inputs)
    errors = [
        ((depth_pruning.outputs(dit, every[:i] + every[i + 1 :], inputs) - whole).norm() / whole.norm()).item()
        for i in every
    ]
    half = [depth_pruning.DepthPruning(max(1, len(every) // 2), way) for way in depth_pruning.CHOICES]
    kept = {
        config.importance: depth_pruning.CHOICES[config.importance](dit, config, context)
        for config in half
        if not depth_pruning.needs_images(config)
    }
    return {"influence": depth_pruning.block_influence(dit, inputs), "error": errors, "kept": kept}
