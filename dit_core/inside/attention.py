"""Attention: the attention maps of softmax and of each simplified kind, before any recovery training.

Every kind of attention mixes the values of all tokens with weights that do not depend on the values. This matrix can be
computed and compared. Shapes: N images, T tokens, nh heads, hs head size.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dit_core.compression.calibration import Inputs, batches, calibration
from dit_core.inside import Panel, scenes
from dit_core.models import attention as kinds
from dit_core.models.dit import Attention
from dit_core.models.hooks import hooked
from dit_core.models.model import Model
from dit_core.models.structure import structure_of
from dit_core.recipes.context import Context
from dit_core.recipes.recipe import apply_recipe
from dit_core.recipes.registry import registry

SOFTMAX = "softmax"
STEPS = (4, 16)  # of the sampler: an early and a late one
INPUTS = 64


@torch.no_grad()
def panel(model: Model, context: Context) -> Panel:
    """Compute attention maps by kind, step and block, in percent, and the overlap of each kind with softmax."""
    seen = scenes.scenes(model, context.seed, STEPS)
    swapped = {SOFTMAX: model.dit, **simplified(model, context)}
    maps = {
        kind: [
            [_percent(effective_map(block.attn, x).mean(1)) for block, x in zip(network.blocks, found, strict=True)]
            for found in (attention_inputs(model.dit, inputs) for inputs in seen.inputs)
        ]
        for kind, network in swapped.items()
    }
    return Panel(
        {
            "kinds": {kind: SOFTMAX if kind == SOFTMAX else registry()[kind].title for kind in swapped},
            "classes": [model.classes[label] for label in seen.labels],
            "timesteps": seen.timesteps,
            "grid": math.isqrt(len(maps[SOFTMAX][0][0][0])),
            "maps": maps,  # by kind, [step][block][picture][query][key]
            "kept": kept(model.dit, swapped, calibration(model.dit, context, INPUTS)),
            "inputs": INPUTS,
        },
        {"estimates": scenes.sheet(list(seen.estimates))},
    )


def simplified(model: Model, context: Context) -> dict[str, Any]:
    """Return the network with each attention technique that fits it, at its default knobs and without recovery."""
    network = structure_of(model.dit)
    return {
        name: apply_recipe(model.dit, [{"name": name}], context)
        for name, found in registry().items()
        if found.family == "attention" and not found.incompatible(found.config(), network)
    }


def effective_map(attention: Any, x: Tensor) -> Tensor:
    """Return the attention map (N, nh, T, T): the weight of each token's value for each query, for input x (N, T, D).

    Convolutions over the values start at zero and are not included.
    """
    return MAPS[type(attention)](attention, x)


def attention_inputs(dit: Any, inputs: Inputs) -> list[Tensor]:
    """Return the input (N, T, D) of the attention of each block."""
    found: list[Tensor] = []
    with hooked([block.attn for block in dit.blocks], pre=lambda index, args: found.append(args[0])):
        dit(*inputs)
    return found


def kept(dit: Any, swapped: dict[str, Any], inputs: Inputs) -> dict[str, list[float]]:
    """Return the overlap with softmax attention by kind and block: the mean sum of min(a, b), 1 for equal maps.

    The mean is over all tokens and heads of `inputs`.
    """
    totals = {kind: [0.0] * len(dit.blocks) for kind in swapped if kind != SOFTMAX}
    for batch in batches(inputs):
        for index, x in enumerate(attention_inputs(dit, batch)):
            expected = effective_map(dit.blocks[index].attn, x)
            for kind, by_block in totals.items():
                found = effective_map(swapped[kind].blocks[index].attn, x)
                by_block[index] += torch.minimum(expected, found).sum(-1).mean((1, 2)).sum().item()
    return {kind: [total / len(inputs[0]) for total in by_block] for kind, by_block in totals.items()}


def _softmax(attention: Attention, x: Tensor) -> Tensor:
    q, k, _ = attention.qkv(x).unflatten(-1, (3, attention.num_heads, -1)).permute(2, 0, 3, 1, 4)
    return _weights(q, k)


def _grouped(attention: kinds.GroupedQueryAttention, x: Tensor) -> Tensor:
    q, k, _ = attention.heads(x)
    return _by_head(_weights(q, k), x.shape[1])


def _mediated(attention: kinds.MediatedAttention, x: Tensor) -> Tensor:
    q, k, _ = attention.heads(x)
    return attention.mediated(q, k, _one_hot(k))


def _focused(attention: kinds.FocusedLinearAttention, x: Tensor) -> Tensor:
    q, k, _ = attention.heads(x)
    q, k = kinds.polar(q, attention.power)[1], kinds.focused(k, attention.power)
    return _by_head(kinds.linear_attention(q, k, _one_hot(k)), x.shape[1])


def _window(attention: kinds.WindowAttention, x: Tensor) -> Tensor:
    """A token attends to its window; a shifted window that wraps around the edge counts as separate pieces."""
    q, k, _ = attention.heads(x)
    grid = math.isqrt(x.shape[1])
    place = (torch.arange(grid) - attention.shift) % grid
    window = 2 * (place // attention.window) + (place >= grid - attention.shift)
    cell = (window[:, None] * 2 * grid + window).flatten().to(x.device)
    return _weights(q, k, cell[:, None] == cell)


def _pooled(attention: kinds.PooledAttention, x: Tensor) -> Tensor:
    """The weight of a coarse token is shared equally by the tokens of its pool x pool cell."""
    grid, pool = math.isqrt(x.shape[1]), attention.pool
    place = torch.arange(grid, device=x.device) // pool
    cell = (place[:, None] * (grid // pool) + place).flatten()  # (T,)
    share = F.one_hot(cell, (grid // pool) ** 2).T.to(x) / pool**2  # (T / pool^2, T)
    q = attention.q(x).unflatten(-1, (attention.num_heads, -1)).transpose(1, 2)
    k = attention.kv(share @ x).unflatten(-1, (2, attention.num_heads, -1))[:, :, 0].transpose(1, 2)
    return _weights(q, k) @ share


def _weights(q: Tensor, k: Tensor, mask: Tensor | None = None) -> Tensor:
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    return (scores if mask is None else scores.masked_fill(~mask, -math.inf)).softmax(-1)


def _one_hot(k: Tensor) -> Tensor:
    """Return one-hot values (N, G, T, T): mixing them gives the attention map."""
    tokens = k.shape[2]
    return torch.eye(tokens, device=k.device, dtype=k.dtype).expand(*k.shape[:2], tokens, tokens)


def _by_head(weights: Tensor, tokens: int) -> Tensor:
    """Reshape (N, G, r T, T) to (N, nh, T, T)."""
    return weights.unflatten(2, (-1, tokens)).flatten(1, 2)


def _percent(weights: Tensor) -> list[Any]:
    return weights.mul(100).round().int().tolist()


MAPS: dict[type, Callable[[Any, Tensor], Tensor]] = {
    Attention: _softmax,
    kinds.GroupedQueryAttention: _grouped,
    kinds.MediatedAttention: _mediated,
    kinds.FocusedLinearAttention: _focused,
    kinds.WindowAttention: _window,
    kinds.PooledAttention: _pooled,
}
