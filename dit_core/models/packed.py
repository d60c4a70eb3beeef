"""Layers whose weights are stored in few bits: the storage that weight-only quantization really needs."""

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
        """The dequantized weight (out, in), made anew at every use."""
        shards = [getattr(self, f"codes{index}") for index in range(self.shards)]
        codes: Tensor = shards[0] if self.bits == 8 else unpack(shards, self.bits, dim=-1)
        return dequantize(codes, self.scale, self.zero, self.bits)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight.to(x.dtype), self.bias)

    def extra_repr(self) -> str:
        return f"{self.in_features} -> {self.out_features}, {self.bits} bits, {self.groups} groups a row"


class PackedMixture(Mixture):
    """A mixture whose experts are packed; router, biases and shared experts are those that it is made of.

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
        """The dequantized matrices of all experts, made anew at every use."""
        return self.packed1.weight.to(self.bias1.dtype), self.packed2.weight.to(self.bias2.dtype)


def dequantize(codes: Tensor, scale: Tensor, zero: Tensor, bits: int) -> Tensor:
    """`(codes - zero) * scale` in float32, with one scale and one zero point per group of inputs.

    A zero point is where on the codes' axis the weight 0 lies. It fills its byte at any bit-width: 8 - `bits` of its
    bits are behind the point.
    """
    groups = codes.unflatten(1, (scale.shape[1], -1)).float()  # (out, groups, group_size)
    return ((groups - zero_points(zero, bits).unsqueeze(-1)) * scale.float().unsqueeze(-1)).flatten(1)


def zero_points(zero: Tensor, bits: int) -> Tensor:
    """Stored zero points as numbers."""
    return zero.float() / 2 ** (8 - bits)
