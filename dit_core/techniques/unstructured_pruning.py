"""Unstructured pruning: single weights set to zero, wherever they are.

What remains is stored as a bitmask and the kept values (`models.sparse`). Matrix products stay dense.
"""

import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dit_core.errors import BadRequest, Cancelled
from dit_core.models.layers import SKIP, linear_layers
from dit_core.models.outline import Outline, experts_stay
from dit_core.techniques import Context, technique

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class UnstructuredPruning:
    """Set single weights to zero and store the others alone (magnitude; Wanda, arXiv 2306.11695).

    The zeros lie anywhere, so each weight that is left needs its place: one bit for every weight, and the kept values.
    That saves bytes. It does not save time: matrix units multiply whole blocks, zeros included, and a product that
    skips scattered zeros loses more by irregular reads than it saves in arithmetic until nearly all weights are gone.
    Here each layer rebuilds its dense weight whenever it runs, so that small batches even get slower.
    """

    sparsity: float = field(
        default=0.5, metadata={"help": "Share of the weights set to zero.", "min": 0.0, "max": 0.95, "step": 0.05}
    )
    score: str = field(
        default="magnitude",
        metadata={
            "help": "What a weight is worth. magnitude: its size. wanda: its size times the norm of the input feature "
            "that it multiplies.",
            "choices": ("magnitude", "wanda"),
        },
    )
    scope: str = field(
        default="layer",
        metadata={
            "help": "Where weights compete. layer: the same share goes in every layer (with wanda in every output row, "
            "as in its paper). global: all layers share one threshold, and some lose more than others.",
            "choices": ("layer", "global"),
        },
    )
    skip: str = field(
        default="outer",
        metadata={
            "help": "Layers left whole: none, the embedders and the final layer (outer), or also the modulation of "
            "every block.",
            "choices": SKIP,
        },
    )
    calibration: int = field(
        default=64,
        metadata={
            "help": "Calibration inputs for wanda; magnitude needs none.",
            "min": 1,
            "max": 1024,
            "used": ({"score": ("wanda",)},),
        },
    )


def unfit(config: UnstructuredPruning, network: Outline) -> str | None:
    """Experts are no plain layers."""
    return experts_stay(network, "pruned")


@technique(UnstructuredPruning, title="Unstructured pruning", family="pruning", unfit=unfit, packs=True)
def prune_weights(model: "nn.Module", config: UnstructuredPruning, context: Context) -> "nn.Module":
    """A copy of the network with a share of its weights gone; raises BadRequest where no plain linear is left."""
    from dit_core.models.sparse import sparse_linear
    from dit_core.training.saliency import weight_scores

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
