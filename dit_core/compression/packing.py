"""Linear layers packed into few bits, by each method of rounding."""

import copy

from torch import Tensor, nn

from dit_core.compression import rounding
from dit_core.models.packed import LowRankLinear, PackedLinear, RotatedLinear, rotate


def packed_linear(
    layer: nn.Linear,
    bits: int,
    group_size: int,
    method: str = "nearest",
    moments: rounding.Moments | None = None,
) -> PackedLinear:
    """Return a packed linear layer with weights rounded to `bits` bits per group of `group_size` inputs.

    `gptq` needs the `moments` of the layer's inputs, and adds the mean error to the bias.
    """
    if method != "gptq":
        return packed_weight(layer.weight, bits, group_size, method, layer.bias)
    assert moments is not None
    weight = layer.weight.detach().float()
    rounded = rounding.gptq(weight, bits, group_size, moments)
    mean = (weight - rounded.weight) @ moments.mean
    bias = mean if layer.bias is None else layer.bias.detach() + mean
    return PackedLinear(rounded.codes, rounded.scale, rounded.zero, bias, bits)


def packed_weight(weight: Tensor, bits: int, group_size: int, method: str, bias: Tensor | None = None) -> PackedLinear:
    """Return a packed layer with this weight (out, in), rounded by a method that needs no inputs."""
    rounded = {"nearest": rounding.nearest, "hqq": rounding.hqq}[method](weight.detach().float(), bits, group_size)
    return PackedLinear(rounded.codes, rounded.scale, rounded.zero, bias, bits)


def low_rank_linear(
    layer: nn.Linear, bits: int, group_size: int, rank: int, moments: rounding.Moments, activation_bits: int
) -> LowRankLinear:
    """Return a packed linear layer with a product of low rank beside it; `moments` are those of its inputs.

    A layer of a lower rank than `rank` keeps all of its rank.
    """
    rounded, up, down = rounding.low_rank(layer.weight.detach().float(), bits, group_size, rank, moments)
    packed = PackedLinear(rounded.codes, rounded.scale, rounded.zero, layer.bias, bits)
    return LowRankLinear(packed, up, down, activation_bits)


def rotated_linear(
    layer: nn.Linear, bits: int, group_size: int, moments: rounding.Moments, activation_bits: int
) -> RotatedLinear:
    """Return a packed linear layer that rotates its inputs; `moments` are those of the inputs before the rotation."""
    rotated = copy.deepcopy(layer)
    rotated.weight.data = rotate(layer.weight.detach().float())
    moments = rounding.rotated_moments(moments)
    return RotatedLinear(packed_linear(rotated, bits, group_size, "gptq", moments), activation_bits)
