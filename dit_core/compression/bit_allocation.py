"""Choose the bits of each layer for a given average, by the error that rounding the layer causes."""

import torch
from torch import Tensor, nn

from dit_core.compression.calibration import BATCH, Inputs
from dit_core.compression.rounding import nearest

WIDTHS = range(2, 9)

Errors = dict[str, dict[int, float]]  # by layer and bits


@torch.no_grad()
def output_errors(model: nn.Module, layers: dict[str, nn.Linear], inputs: Inputs, group_size: int) -> Errors:
    """Return the squared error of the network's output if only one layer is rounded, by layer and bits.

    The error is that of the first batch of `inputs`, relative to the squared output.
    """
    part = tuple(tensor[:BATCH] for tensor in inputs)
    expected: Tensor = model(*part)
    errors: Errors = {}
    for name, layer in layers.items():
        original = layer.weight.data
        errors[name] = {}
        for bits in WIDTHS:
            layer.weight.data = nearest(original.float(), bits, group_size).weight.to(original)
            errors[name][bits] = ((model(*part) - expected).square().sum() / expected.square().sum()).item()
        layer.weight.data = original
    return errors


def spend(errors: Errors, sizes: dict[str, int], average: float) -> dict[str, int]:
    """Return the bits of each layer; layers of `sizes` weights then have at most `average` bits a weight.

    The errors of layers are assumed to add up. All layers start with the fewest bits. Each round raises one layer, by
    one bit or more: the raise that removes the most error for each bit of storage, until no raise fits the budget.
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
