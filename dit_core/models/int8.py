"""A linear layer that multiplies in int8 on a CPU, with activation scales computed in each forward pass."""

import torch
from torch import Tensor, nn

SMALLEST_SCALE = 1e-12
FEWEST_ROWS, MULTIPLE = 32, 8  # that cuBLAS takes: more than 16 rows, inputs and outputs in multiples of 8


def int_mm(rows: Tensor, weight: Tensor) -> Tensor:
    """Return the int32 product (R, N) of int8 `rows` (R, K) and `weight` (N, K), on a CPU or an NVIDIA GPU."""
    if rows.device.type == "cpu":
        return torch._int_mm(rows, weight.t())
    return padded_int_mm(rows, weight)


def padded_int_mm(rows: Tensor, weight: Tensor) -> Tensor:
    """Return the product for shapes that cuBLAS does not take: zeros fill up rows, inputs and outputs."""
    (count, inputs), outputs = rows.shape, len(weight)
    more = max(FEWEST_ROWS - count, 0), -inputs % MULTIPLE, -outputs % MULTIPLE
    if more[0] or more[1]:
        rows = nn.functional.pad(rows, (0, more[1], 0, more[0]))
    if more[1] or more[2]:
        weight = nn.functional.pad(weight, (0, more[1], 0, more[2]))
    return torch._int_mm(rows, weight.t())[:count, :outputs]


class Int8Linear(nn.Module):
    """`x W^T + b` with x rounded to int8 per token and W per output, each from -`highest` to `highest`.

    The arithmetic is that of torchao's Int8DynamicActivationInt8WeightConfig. Without compilation, torchao spends most
    of the time in a slow reduction over rows, a copy of the codes and tensor subclass dispatch. This layer is five
    plain operators.
    """

    exact = ("scale",)  # not rounded to float16 in a file

    codes: Tensor
    scale: Tensor
    bias: Tensor

    def __init__(self, layer: nn.Linear, highest: int = 127) -> None:
        super().__init__()
        self.out_features, self.in_features, self.highest = layer.out_features, layer.in_features, highest
        codes, scale = self._round(layer.weight.detach())
        self.register_buffer("codes", codes)  # (out, in) int8
        self.register_buffer("scale", scale.squeeze(1))  # (out,)
        bias = torch.zeros(layer.out_features) if layer.bias is None else layer.bias.detach().clone()
        self.bias = nn.Parameter(bias, requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        codes, scale = self._round(x.flatten(0, -2).float())  # (tokens, in), (tokens, 1)
        products = int_mm(codes, self.codes)  # (tokens, out) int32
        y = torch.addcmul(self.bias.float(), products * self.scale, scale)
        return y.to(x.dtype).view(*x.shape[:-1], self.out_features)

    def _round(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        # amax of abs, since aminmax of rows is not vectorized on a CPU
        scale = rows.abs().amax(1, keepdim=True).clamp_(min=SMALLEST_SCALE).div_(self.highest)
        return (rows / scale).round_().to(torch.int8), scale

    def extra_repr(self) -> str:
        return f"{self.in_features} -> {self.out_features}, int8"


class FewestRows(nn.Module):
    """A layer whose kernel multiplies in float below `FEWEST_ROWS` rows: zeros fill them up, and are cut off again.

    For layers that treat every row by itself, such as torchao's dynamic int8 on an NVIDIA GPU.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        rows = x.flatten(0, -2)  # (rows, in)
        if len(rows) >= FEWEST_ROWS:
            return self.layer(x)
        filled = nn.functional.pad(rows, (0, 0, 0, FEWEST_ROWS - len(rows)))
        return self.layer(filled)[: len(rows)].view(*x.shape[:-1], -1)
