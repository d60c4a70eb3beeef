"""A budget of bits, spent where the network feels it: which layer is stored in how many bits."""

import torch
from torch import Tensor, nn

from dit_core.training.calibration import BATCH, Inputs
from dit_core.training.rounding import nearest

WIDTHS = range(2, 9)

Errors = dict[str, dict[int, float]]  # by layer and bits


@torch.no_grad()
def output_errors(model: nn.Module, layers: dict[str, nn.Linear], inputs: Inputs, group_size: int) -> Errors:
    """Squared error of the network's output when one layer alone is rounded to the nearest, by layer and bits.

    On the first batch of `inputs`, relative to the squared output.
    """
    part = tuple(tensor[:BATCH] for tensor in inputs)
    expected: Tensor = model(*part)
    errors: Errors = {}
    for name, layer in layers.items():
        whole = layer.weight.data
        errors[name] = {}
        for bits in WIDTHS:
            layer.weight.data = nearest(whole.float(), bits, group_size).weight.to(whole)
            errors[name][bits] = ((model(*part) - expected).square().sum() / expected.square().sum()).item()
        layer.weight.data = whole
    return errors


def spend(errors: Errors, sizes: dict[str, int], average: float) -> dict[str, int]:
    """Bits of each layer such that `sizes` weights have at most `average` bits on average.

    Errors of layers are taken to add up. From the fewest bits on, that raise is made, by one bit or more, which takes
    away most error for each bit that it costs, as long as one fits the budget.
    """
    chosen = dict.fromkeys(errors, min(WIDTHS))
    left = sum(sizes.values()) * (average - min(WIDTHS))
    while True:
        raises = [
            ((by_bits[chosen[name]] - by_bits[bits]) / (sizes[name] * (bits - chosen[name])), name, bits)
            for name, by_bits in errors.items()
            for bits in WIDTHS
            if 0 < sizes[name] * (bits - chosen[name]) <= left
        ]
        gain, name, bits = max(raises, default=(0.0, "", 0))
        if gain <= 0:
            return chosen
        left -= sizes[name] * (bits - chosen[name])
        chosen[name] = bits
