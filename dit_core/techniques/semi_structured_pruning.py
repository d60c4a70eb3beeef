"""2:4 semi-structured pruning: of every four weights in a row, the two least important become zero.

Sparse tensor cores multiply this pattern at up to twice the rate. On other hardware the weights are stored as a bitmask
and the kept values: 4 bits of index for every two values.
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
    import torch
    from torch import Tensor, nn


@dataclass(frozen=True)
class SemiStructuredPruning:
    """Keep two of every four weights, the pattern of sparse tensor cores (arXiv 2104.08378; Wanda, arXiv 2306.11695).

    NVIDIA GPUs of compute capability 8.0 or newer skip the zeros, with 16-bit values in layers of suitable size. On
    other hardware the layers need about half of the memory, but each rebuilds its dense weight whenever it runs, so no
    time is saved.
    """

    score: str = field(
        default="magnitude",
        metadata={
            "help": "Importance of a weight. magnitude: its absolute value. wanda: its absolute value times the norm "
            "of its input feature.",
            "choices": ("magnitude", "wanda"),
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
    values: str = field(
        default="exact",
        metadata={
            "help": "Type of the kept weights. exact: unchanged. float16: half the bytes, required by sparse tensor "
            "cores.",
            "choices": ("exact", "float16"),
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


def incompatible(config: SemiStructuredPruning, network: Structure) -> str | None:
    """Return an error message if the inputs of a layer do not divide by 4 or a block has experts."""
    odd = ((name, inputs) for name, inputs in network.linear_inputs().items() if inputs % 4)
    reason = next((f"the {inputs} inputs of {name} do not divide by 4." for name, inputs in odd), None)
    return reason or experts_conflict(network, "pruned")


@technique(
    SemiStructuredPruning, title="2:4 pruning", family="pruning", incompatible=incompatible, terminal=True, removes=True
)
def prune_two_of_four(model: "nn.Module", config: SemiStructuredPruning, context: Context) -> "nn.Module":
    """Return a copy of the network with 2:4 sparse linear layers.

    Raises BadRequest if the inputs of a layer do not divide by 4.
    """
    import torch

    from dit_core.compression.saliency import weight_scores
    from dit_core.models.sparse import keep_largest

    model = copy.deepcopy(model)
    layers = linear_layers(model, config.skip)
    if not layers:
        raise BadRequest("semi_structured_pruning: no plain linear layer is left to prune: put it before quantization.")
    for name, layer in layers.items():
        if layer.in_features % 4:
            raise BadRequest(f"semi_structured_pruning: the {layer.in_features} inputs of {name} do not divide by 4.")
    scores = weight_scores(model, layers, config.score, context, config.calibration)
    for index, (name, layer) in enumerate(layers.items(), start=1):
        if context.cancelled():
            raise Cancelled("The run was cancelled.")
        keep = keep_largest(scores[name].unflatten(1, (-1, 4)), 2).flatten(1)
        dtype = torch.float16 if config.values == "float16" else context.dtype or layer.weight.dtype
        model.set_submodule(name, two_of_four(layer, keep, dtype))
        context.progress("prune", index, len(layers))
    return model


def two_of_four(layer: "nn.Linear", keep: "Tensor", dtype: "torch.dtype") -> "nn.Module":
    """Return `layer` with only the weights in `keep` (out, in), for sparse tensor cores if they support it."""
    from dit_core.models.sparse import SemiStructuredLinear, SparseLinear, has_kernel

    weight = layer.weight.detach().to(dtype)
    if has_kernel(weight):
        return SemiStructuredLinear(weight * keep, layer.bias)
    return SparseLinear(weight, keep, layer.bias)
