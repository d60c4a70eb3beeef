"""Unstructured pruning: set single weights to zero.

The weights are stored as a bitmask and the kept values (`models.sparse`). Matrix products stay dense.
"""

import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dit_core.errors import BadRequest, Cancelled
from dit_core.models.layers import SKIP, linear_layers
from dit_core.models.structure import Structure, experts_conflict
from dit_core.recipes.context import Context
from dit_core.recipes.registry import technique

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class UnstructuredPruning:
    """Set single weights to zero and store only the rest (magnitude; Wanda, arXiv 2306.11695).

    The zeros have no pattern, so one bit per weight says whether it was kept. This saves memory but no time: matrix
    units multiply whole blocks, zeros included, and skipping scattered zeros costs more in irregular reads than it
    saves unless nearly all weights are zero. Each layer rebuilds its dense weight whenever it runs, so small batches
    get slower.
    """

    sparsity: float = field(
        default=0.5, metadata={"help": "Share of the weights set to zero.", "min": 0.0, "max": 0.95, "step": 0.05}
    )
    score: str = field(
        default="magnitude",
        metadata={
            "help": "Importance of a weight. magnitude: its absolute value. wanda: its absolute value times the norm "
            "of its input feature.",
            "choices": ("magnitude", "wanda"),
        },
    )
    scope: str = field(
        default="layer",
        metadata={
            "help": "Where weights are compared. layer: every layer (with wanda every output row, as in its paper) "
            "loses the same share. global: all layers share one threshold, so some lose more than others.",
            "choices": ("layer", "global"),
        },
    )
    skip: str = field(
        default="outer",
        metadata={
            "help": "Layers that are not pruned: none, the embedders and the final layer (outer), or also the "
            "modulation of every block.",
            "choices": SKIP,
        },
    )
    calibration: int = field(
        default=64,
        metadata={
            "help": "Number of calibration inputs for wanda.",
            "min": 1,
            "max": 1024,
            "active_when": ({"score": ("wanda",)},),
        },
    )


def incompatible(config: UnstructuredPruning, network: Structure) -> str | None:
    """Return an error message if a block has experts, which are not plain layers."""
    return experts_conflict(network, "pruned")


@technique(
    UnstructuredPruning,
    title="Unstructured pruning",
    family="pruning",
    incompatible=incompatible,
    terminal=True,
    removes=True,
)
def prune_weights(model: "nn.Module", config: UnstructuredPruning, context: Context) -> "nn.Module":
    """Return a copy of the network with sparse linear layers. Raises BadRequest if it has no plain linear layer."""
    from dit_core.compression.saliency import weight_scores
    from dit_core.models.sparse import sparse_linear

    model = copy.deepcopy(model)
    layers = linear_layers(model, config.skip)
    if not layers:
        raise BadRequest("unstructured_pruning: no plain linear layer is left to prune: put it before quantization.")
    if config.sparsity == 0:
        return model
    scores = weight_scores(model, layers, config.score, context, config.calibration)
    keep = _global(scores, config.sparsity) if config.scope == "global" else _by_layer(scores, config)
    for index, (name, layer) in enumerate(layers.items(), start=1):
        if context.cancelled():
            raise Cancelled("The run was cancelled.")
        model.set_submodule(name, sparse_linear(layer, keep[name]))
        context.progress("prune", index, len(layers))
    return model


def _by_layer(scores: "dict[str, Tensor]", config: UnstructuredPruning) -> "dict[str, Tensor]":
    from dit_core.models.sparse import keep_largest

    by_row = config.score == "wanda"
    groups = {name: score if by_row else score.view(1, -1) for name, score in scores.items()}
    return {
        name: keep_largest(group, _kept(group.shape[-1], config.sparsity)).view_as(scores[name])
        for name, group in groups.items()
    }


def _global(scores: "dict[str, Tensor]", sparsity: float) -> "dict[str, Tensor]":
    import torch

    from dit_core.models.sparse import keep_largest

    every = torch.cat([score.flatten() for score in scores.values()])
    parts = keep_largest(every, _kept(len(every), sparsity)).split([score.numel() for score in scores.values()])
    return {name: part.view_as(scores[name]) for name, part in zip(scores, parts, strict=True)}


def _kept(count: int, sparsity: float) -> int:
    return count - round(sparsity * count)
