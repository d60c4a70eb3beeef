"""2:4 semi-structured pruning: of every four weights in a row, the two that matter least become zero.

The pattern that sparse tensor cores multiply at up to twice the rate. Where they cannot be used the weights are stored
as a bitmask and the kept values: 4 bits of index for every two values.
"""

import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dit_core.errors import BadRequest, Cancelled
from dit_core.models.layers import SKIP, linear_layers
from dit_core.models.outline import Outline, experts_stay
from dit_core.techniques import Context, technique

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


@dataclass(frozen=True)
class SemiStructuredPruning:
    """Keep two of every four weights, as sparse tensor cores want it (arXiv 2104.08378; Wanda, arXiv 2306.11695).

    Half of the arithmetic goes only where the hardware skips it: on NVIDIA GPUs of compute capability 8.0 or newer,
    with values of 16 bits in layers of suitable size. Elsewhere the layers take about half of the memory, and each
    rebuilds its dense weight when it runs: no time is saved.
    """

    score: str = field(
        default="magnitude",
        metadata={
            "help": "What a weight is worth. magnitude: its size. wanda: its size times the norm of the input feature "
            "that it multiplies.",
            "choices": ("magnitude", "wanda"),
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
    values: str = field(
        default="exact",
        metadata={
            "help": "How the kept weights are stored. exact: as they are. float16: in half the bytes, and as sparse "
            "tensor cores need them.",
            "choices": ("exact", "float16"),
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


def unfit(config: SemiStructuredPruning, network: Outline) -> str | None:
    """Rows are made of fours, and experts are no plain layers."""
    odd = ((name, inputs) for name, inputs in network.linear_inputs().items() if inputs % 4)
    reason = next((f"the {inputs} inputs of {name} do not divide by 4." for name, inputs in odd), None)
    return reason or experts_stay(network, "pruned")


@technique(SemiStructuredPruning, title="2:4 pruning", family="pruning", unfit=unfit, packs=True)
def prune_two_of_four(model: "nn.Module", config: SemiStructuredPruning, context: Context) -> "nn.Module":
    """A copy of the network with 2:4 sparse linears; raises BadRequest where four does not divide a layer's inputs."""
    import torch

    from dit_core.models.sparse import keep_largest
    from dit_core.training.saliency import weight_scores

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
        dtype = torch.float16 if config.values == "float16" else layer.weight.dtype
        model.set_submodule(name, two_of_four(layer, keep, dtype))
        context.progress("prune", index, len(layers))
    return model


def two_of_four(layer: "nn.Linear", keep: "Tensor", dtype: "torch.dtype") -> "nn.Module":
    """`layer` without the weights outside `keep` (out, in), for sparse tensor cores where they take it, else packed."""
    from dit_core.models.sparse import SemiStructuredLinear, SparseLinear, has_kernel

    weight = layer.weight.detach().to(dtype)
    if has_kernel(weight):
        return SemiStructuredLinear(weight * keep, layer.bias)
    return SparseLinear(weight, keep, layer.bias)
