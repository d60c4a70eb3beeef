"""Layers with weights packed into few bits, so that weight-only quantization really saves the memory."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchao.prototype.dtypes.uintx.bitpacking import pack, unpack

from dit_core.models.experts import Mixture


class PackedLinear(nn.Module):
    """`x W^T + b` with W as in `dequantize`, codes packed to exactly `bits` bits.

    `codes` (out, in) uint8 below 2**bits; `scale` (out, groups) float16; `zero` (out, groups) uint8.
    """

    scale: Tensor
    zero: Tensor

    def __init__(self, codes: Tensor, scale: Tensor, zero: Tensor, bias: Tensor | None, bits: int) -> None:
        super().__init__()
        self.out_features, self.in_features = codes.shape
        self.bits, self.groups = bits, scale.shape[1]
        shards = (codes,) if bits == 8 else pack(codes, bits, dim=-1)
        for index, shard in enumerate(shards):
            self.register_buffer(f"codes{index}", shard.contiguous())
        self.shards = len(shards)
        self.register_buffer("scale", scale)
        self.register_buffer("zero", zero)
        self.bias = None if bias is None else nn.Parameter(bias.detach().clone(), requires_grad=False)

    @property
    def weight(self) -> Tensor:
        """The dequantized weight (out, in), computed at every use."""
        shards = [getattr(self, f"codes{index}") for index in range(self.shards)]
        codes: Tensor = shards[0] if self.bits == 8 else unpack(shards, self.bits, dim=-1)
        return dequantize(codes, self.scale, self.zero, self.bits)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight.to(x.dtype), self.bias)

    def extra_repr(self) -> str:
        return f"{self.in_features} -> {self.out_features}, {self.bits} bits, {self.groups} groups a row"


class LowRankLinear(PackedLinear):
    """`x (up down)^T + round(x) W^T + b`: a product of low rank in float16 and a packed residual W (SVDQuant).

    `up` (out, rank), `down` (rank, in) float16. `activation_bits` below 32 rounds the inputs of the packed product, as
    in `round_tokens`; the multiplication stays in float. arXiv 2411.05007.
    """

    up: Tensor
    down: Tensor

    def __init__(self, packed: PackedLinear, up: Tensor, down: Tensor, activation_bits: int) -> None:
        nn.Module.__init__(self)
        self.__dict__.update(packed.__dict__)
        self.activation_bits = activation_bits
        self.register_buffer("up", up.half())
        self.register_buffer("down", down.half())

    def forward(self, x: Tensor) -> Tensor:
        low_rank = F.linear(F.linear(x, self.down.to(x.dtype)), self.up.to(x.dtype))
        return super().forward(round_tokens(x, self.activation_bits)) + low_rank


class RotatedLinear(PackedLinear):
    """`round(x H) W^T + b` with a packed W = V H of a trained V: the rotation H spreads outliers (QuaRot).

    `activation_bits` below 32 rounds the rotated inputs, as in `round_tokens`; the multiplication stays in float.
    arXiv 2404.00456.
    """

    def __init__(self, packed: PackedLinear, activation_bits: int) -> None:
        nn.Module.__init__(self)
        self.__dict__.update(packed.__dict__)
        self.activation_bits = activation_bits

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(round_tokens(rotate(x), self.activation_bits))


def rotate(x: Tensor) -> Tensor:
    """Multiply rows (..., D) by the block-diagonal, normalized Hadamard matrix, which is its own inverse.

    The size of a block is the largest power of two that divides D.
    """
    width = x.shape[-1]
    size = width & -width
    half = 1
    while half < size:
        even, odd = x.unflatten(-1, (-1, 2, half)).unbind(-2)
        x = torch.stack([even + odd, even - odd], dim=-2).flatten(-3)
        half *= 2
    return x / math.sqrt(size)


def round_tokens(x: Tensor, bits: int) -> Tensor:
    """Round (..., D) to signed codes of `bits` bits with one scale for each token; 32 bits change nothing."""
    if bits == 32:
        return x
    highest = 2 ** (bits - 1) - 1
    scale = x.abs().amax(-1, keepdim=True).clamp(min=torch.finfo(x.dtype).tiny) / highest
    return (x / scale).round() * scale


class PackedMixture(Mixture):
    """A mixture with packed experts. Router, biases and shared experts are those of the given mixture.

    `packed1` and `packed2` hold the stacked matrices (E n, D), in groups along D.
    """

    def __init__(self, mixture: Mixture, packed1: PackedLinear, packed2: PackedLinear) -> None:
        nn.Module.__init__(self)
        self.hidden_size, self.expert_size = mixture.hidden_size, mixture.expert_size
        self.routed, self.top_k = mixture.routed, mixture.top_k
        self.router, self.shared, self.bias = mixture.router, mixture.shared, mixture.bias
        self.bias1, self.bias2 = mixture.bias1, mixture.bias2
        self.packed1, self.packed2 = packed1, packed2

    def matrices(self) -> tuple[Tensor, Tensor]:
        """The dequantized matrices of all experts, computed at every use."""
        return self.packed1.weight.to(self.bias1.dtype), self.packed2.weight.to(self.bias2.dtype)


def dequantize(codes: Tensor, scale: Tensor, zero: Tensor, bits: int) -> Tensor:
    """`(codes - zero) * scale` in float32, with one scale and one zero point per group of inputs.

    A zero point is the code of the weight 0. It is a fixed-point number in one byte with 8 - `bits` fractional bits.
    """
    groups = codes.unflatten(1, (scale.shape[1], -1)).float()  # (out, groups, group_size)
    return ((groups - zero_points(zero, bits).unsqueeze(-1)) * scale.float().unsqueeze(-1)).flatten(1)


def zero_points(zero: Tensor, bits: int) -> Tensor:
    """Return stored zero points as float32."""
    return zero.float() / 2 ** (8 - bits)
