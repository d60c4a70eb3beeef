"""A linear layer that multiplies in int8 on a CPU, with activation scales computed in each forward pass."""

import torch
from torch import Tensor, nn

SMALLEST_SCALE = 1e-12


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
        products = torch._int_mm(codes, self.codes.t())  # (tokens, out) int32
        y = torch.addcmul(self.bias.float(), products * self.scale, scale)
        return y.to(x.dtype).view(*x.shape[:-1], self.out_features)

    def _round(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        # amax of abs, since aminmax of rows is not vectorized on a CPU
        scale = rows.abs().amax(1, keepdim=True).clamp_(min=SMALLEST_SCALE).div_(self.highest)
        return (rows / scale).round_().to(torch.int8), scale

    def extra_repr(self) -> str:
        return f"{self.in_features} -> {self.out_features}, int8"
