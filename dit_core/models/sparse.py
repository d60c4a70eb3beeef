"""Linear layers whose weights are stored without the zeros: as a bitmask and values, or for sparse tensor cores."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.sparse import to_sparse_semi_structured


class SparseLinear(nn.Module):
    """`x W^T + b` with W zero wherever `mask` is.

    `mask` (out * in / 8,) uint8, one bit a weight in row order, the lowest bit first; `values` (kept,) in the weight's
    dtype. The dense weight is computed at every use: this saves memory between calls, but no time.
    """

    mask: Tensor
    values: Tensor

    def __init__(self, weight: Tensor, keep: Tensor, bias: Tensor | None) -> None:
        """`weight` and `keep` (out, in); `keep` is boolean."""
        super().__init__()
        self.out_features, self.in_features = weight.shape
        self.register_buffer("mask", pack_bits(keep.flatten()))
        self.register_buffer("values", weight.detach()[keep])
        self.bias = None if bias is None else nn.Parameter(bias.detach().clone(), requires_grad=False)

    @property
    def weight(self) -> Tensor:
        """The dense weight (out, in)."""
        count = self.out_features * self.in_features
        dense = self.values.new_zeros(count).masked_scatter_(unpack_bits(self.mask, count), self.values)
        return dense.view(self.out_features, self.in_features)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight.to(x.dtype), self.bias)

    def extra_repr(self) -> str:
        return f"{self.in_features} -> {self.out_features}, {len(self.values)} weights kept"


class SemiStructuredLinear(nn.Module):
    """`x W^T + b` on sparse tensor cores, with a 2:4 sparse W in 16-bit floats on a CUDA device.

    The product is computed in the dtype of the weight and returned in the dtype of `x`.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        """`weight` (out, in) with two zeros in every four; see `has_kernel`."""
        super().__init__()
        self.out_features, self.in_features = weight.shape
        self.weight = nn.Parameter(to_sparse_semi_structured(weight), requires_grad=False)
        self.bias = None if bias is None else nn.Parameter(bias.detach().clone(), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        bias = None if self.bias is None else self.bias.to(self.weight.dtype)
        return F.linear(x.to(self.weight.dtype), self.weight, bias).to(x.dtype)


def has_kernel(weight: Tensor) -> bool:
    """Return whether sparse tensor cores can multiply this weight: 16-bit floats of a shape that torch's kernels take.

    The float32 kernel is not used, because it computes in TF32; `SparseLinear` keeps a float32 weight exact.
    """
    rows, columns = weight.shape
    return (
        weight.is_cuda
        and torch.cuda.get_device_capability(weight.device) >= (8, 0)
        and weight.dtype in (torch.float16, torch.bfloat16)
        and rows % 32 == 0
        and columns % 64 == 0
    )


def sparse_linear(layer: nn.Linear, keep: Tensor) -> nn.Module:
    """Return `layer` with only the weights in `keep` (out, in); it stays dense if a bitmask would not save memory."""
    if keep.sum() * layer.weight.element_size() + keep.numel() / 8 < layer.weight.nbytes:
        return SparseLinear(layer.weight, keep, layer.bias)
    layer.weight = nn.Parameter(layer.weight.detach() * keep, requires_grad=layer.weight.requires_grad)
    return layer


def keep_largest(scores: Tensor, count: int) -> Tensor:
    """Return a boolean tensor, shaped as `scores`, that selects the `count` largest scores along the last dimension."""
    kept = scores.topk(count, dim=-1, sorted=False).indices
    return torch.zeros_like(scores, dtype=torch.bool).scatter_(-1, kept, True)


def pack_bits(bits: Tensor) -> Tensor:
    """(n,) booleans to (n / 8 rounded up,) uint8, the lowest bit first."""
    octets = F.pad(bits.to(torch.uint8), (0, -len(bits) % 8)).view(-1, 8)
    return (octets << torch.arange(8, dtype=torch.uint8, device=bits.device)).sum(1, dtype=torch.uint8)


def unpack_bits(packed: Tensor, count: int) -> Tensor:
    """Return the first `count` booleans from the output of `pack_bits`."""
    octets = packed.unsqueeze(1) >> torch.arange(8, dtype=torch.uint8, device=packed.device)
    return (octets & 1).flatten()[:count].bool()
