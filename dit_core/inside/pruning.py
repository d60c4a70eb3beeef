"""Pruning: where the zeros fall, what they take away, and how much each head, neuron and block matters."""

from typing import Any

import torch

from dit_core.inside import Panel, scenes
from dit_core.models.layers import linear_layers
from dit_core.models.model import Model
from dit_core.techniques import Context, apply_recipe, depth_pruning, width_pruning
from dit_core.training.calibration import Inputs, calibration, input_features

SPARSITIES = (0.3, 0.5, 0.7, 0.9)
SCOPES = ("layer", "global")
STEPS = 20  # points of a curve over the neurons
INPUTS = 64


@torch.no_grad()
def panel(model: Model, context: Context) -> Panel:
    """Zeros and lost weight of every layer; importance of heads, neurons and blocks."""
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
    """By layer: the share of weights that are zero now, and the share of the squared norm that went with them."""
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
    """Importance of each head (blocks, heads), and how it adds up over each block's neurons, strongest first.

    Importance is what width pruning goes by: root mean square of what a unit adds to its branch. The curves give the
    share of the squares that the strongest 0, 5, ... 100 % of the neurons hold.
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
    """Of each block: its influence, and the relative error of the network's output without it; who keeps which half."""
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
        if not depth_pruning.learns(config)
    }
    return {"influence": depth_pruning.block_influence(dit, inputs), "error": errors, "kept": kept}
