"""2:4 semi-structured pruning: of every four weights in a row, the two that matter least become zero.

The pattern that sparse tensor cores multiply at up to twice the rate. Where they cannot be used the weights are stored
as a bitmask and the kept values: 4 bits of index for every two values.
"""

import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dit_core.errors import BadRequest, Cancelled
from dit_core.models.layers import SKIP, linear_layers
from dit_core.techniques import Context, technique

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class SemiStructuredPruning:
    """Keep two of every four weights, as sparse tensor cores want it (arXiv 2104.08378; Wanda, arXiv 2306.11695).

    Half of the arithmetic goes only where the hardware skips it: on NVIDIA GPUs of compute capability 8.0 or newer,
    with float16 or bfloat16 weights in layers of suitable size. Elsewhere the network is smaller in memory by almost
    half, and each layer rebuilds its dense weight when it runs: no time is saved.
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
    calibration: int = field(
        default=64, metadata={"help": "Calibration inputs for wanda; magnitude needs none.", "min": 1, "max": 1024}
    )


@technique(SemiStructuredPruning, title="2:4 pruning", family="pruning")
def prune_two_of_four(model: "nn.Module", config: SemiStructuredPruning, context: Context) -> "nn.Module":
    """A copy of the network with 2:4 sparse linears; raises BadRequest where four does not divide a layer's inputs."""
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
        model.set_submodule(name, two_of_four(layer, keep))
        context.progress("prune", index, len(layers))
    return model


def two_of_four(layer: "nn.Linear", keep: "Tensor") -> "nn.Module":
    """`layer` with the weights outside `keep` (out, in) gone: for sparse tensor cores where it can, else packed."""
    from torch import nn
    from torch.sparse import to_sparse_semi_structured

    from dit_core.models.sparse import sparse_linear

    if not has_kernel(layer.weight):
        return sparse_linear(layer, keep)
    compressed = to_sparse_semi_structured(layer.weight.detach() * keep)
    layer.weight = nn.Parameter(compressed, requires_grad=False)
    return layer


def has_kernel(weight: "Tensor") -> bool:
    """Whether sparse tensor cores multiply this weight: 16-bit floats, in multiples that both of torch's kernels take.

    Their float32 kernel computes in TF32, so float32 weights stay exact in packed form.
    """
    import torch

    rows, columns = weight.shape
    return (
        weight.is_cuda
        and torch.cuda.get_device_capability(weight.device) >= (8, 0)
        and weight.dtype in (torch.float16, torch.bfloat16)
        and rows % 32 == 0
        and columns % 64 == 0
    )
