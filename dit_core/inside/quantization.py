"""Quantization: the weights of a layer before and after rounding, and the error of each layer."""

from typing import Any

import torch
from torch import Tensor

from dit_core.compression import rounding
from dit_core.compression.bit_allocation import output_errors
from dit_core.compression.calibration import calibration
from dit_core.inside import INPUTS, Panel, scenes
from dit_core.models.layers import linear_layers
from dit_core.models.model import Model
from dit_core.recipes.context import Context
from dit_core.recipes.recipe import apply_recipe

BITS = range(2, 9)
METHODS = {"nearest": BITS, "hqq": BITS, "gptq": range(2, 5)}  # the widths at which it differs visibly; it is slow
GROUP = 64  # weights that share a scale
BINS = 60
NETWORK_INPUTS = 16  # inputs on which the network's own error is measured


@torch.no_grad()
def panel(model: Model, context: Context) -> Panel:
    """Compute histograms of some layers, one group of weights on its grid, and three errors of every layer by bits."""
    layers = linear_layers(model.dit, "outer")
    inputs = calibration(model.dit, context, NETWORK_INPUTS)
    moments = rounding.input_moments(model.dit, list(layers), calibration(model.dit, context, INPUTS))
    depth = len(model.dit.blocks)  # type: ignore[arg-type]
    shown = tuple(f"blocks.{index}." for index in sorted({0, depth // 2, depth - 1}))
    drawn: dict[str, Any] = {}
    errors: dict[str, Any] = {kind: {method: {} for method in METHODS} for kind in ("weights", "outputs")}
    for name, layer in layers.items():
        weight = layer.weight.detach().float()
        found = {method: _rounded(weight, method, moments[name]) for method in METHODS}
        for method, by_bits in found.items():
            for kind, measure in (("weights", weight_error), ("outputs", output_error)):
                of_layer = {bits: measure(weight, new, moments[name], method) for bits, new in by_bits.items()}
                errors[kind][method][name] = of_layer
        if name.startswith(shown):
            drawn[name] = histogram(weight, found)
    errors["network"] = {"nearest": _network_error(model, layers, inputs)}
    pictures = [scenes.drawn(model.with_dit(_quantized(model, bits, context)), context.seed) for bits in BITS]
    return Panel(
        {"bits": list(BITS), "group_size": GROUP, "layers": drawn, "errors": errors, "inputs": len(inputs[0])},
        {"samples": scenes.sheet([scenes.drawn(model, context.seed), *pictures])},
    )


def histogram(weight: Tensor, rounded: dict[str, dict[int, Tensor]]) -> dict[str, Any]:
    """Return the counts of weights in `BINS` bins and the first group of weights, before and after rounding."""
    end = weight.abs().max().item()

    def counts(values: Tensor) -> list[int]:
        return torch.histc(values.clamp(-end, end), BINS, -end, end).int().tolist()

    return {
        "end": end,
        "before": counts(weight),
        "after": {method: {bits: counts(new) for bits, new in by.items()} for method, by in rounded.items()},
        "group": weight[0, :GROUP].tolist(),
        "group_after": {
            method: {bits: new[0, :GROUP].tolist() for bits, new in by.items()} for method, by in rounded.items()
        },
    }


def weight_error(weight: Tensor, new: Tensor, moments: rounding.Moments, method: str) -> float:
    """Return the norm of the change of the weights relative to their norm."""
    return ((new - weight).norm() / weight.norm()).item()


def output_error(weight: Tensor, new: Tensor, moments: rounding.Moments, method: str) -> float:
    """Return the root mean square change of the layer's output relative to the output, without the bias.

    `gptq` moves the mean of the change into the bias.
    """
    power = moments.error(weight).sum() + (weight @ moments.mean).square().sum()
    change = moments.error(new - weight).sum()
    if method != "gptq":
        change = change + ((new - weight) @ moments.mean).square().sum()
    return (change.clamp(min=0) / power).sqrt().item()


def _rounded(weight: Tensor, method: str, moments: rounding.Moments) -> dict[int, Tensor]:
    if method == "gptq":
        return {bits: rounding.gptq(weight, bits, GROUP, moments).weight for bits in METHODS[method]}
    return {bits: getattr(rounding, method)(weight, bits, GROUP).weight for bits in METHODS[method]}


def _network_error(model: Model, layers: dict[str, Any], inputs: Any) -> dict[str, dict[int, float]]:
    """Return the relative root mean square change of the network's output if only one layer is rounded, by bits."""
    squares = output_errors(model.dit, layers, inputs, GROUP)
    return {name: {bits: square**0.5 for bits, square in by.items()} for name, by in squares.items()}


def _quantized(model: Model, bits: int, context: Context) -> Any:
    return apply_recipe(model.dit, [{"name": "quantization", "bits": bits, "group_size": GROUP}], context)
