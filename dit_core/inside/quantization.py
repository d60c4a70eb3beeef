"""Rounding: the weights of a layer before and after, and how much each layer errs by it."""

from typing import Any

import torch
from torch import Tensor

from dit_core.inside import INPUTS, Panel, scenes
from dit_core.models.layers import linear_layers
from dit_core.models.model import Model
from dit_core.techniques import Context, apply_recipe
from dit_core.training import rounding
from dit_core.training.bit_budget import output_errors
from dit_core.training.calibration import calibration

BITS = range(2, 9)
METHODS = {"nearest": BITS, "hqq": BITS, "gptq": range(2, 5)}  # where its care shows; it is slow to make
GROUP = 64  # weights that share a scale
BINS = 60
FELT = 16  # inputs on which the network's own error is measured


@torch.no_grad()
def panel(model: Model, context: Context) -> Panel:
    """Histograms of some layers, one group of weights on its grid, and three errors of every layer by bits."""
    layers = linear_layers(model.dit, "outer")
    inputs = calibration(model.dit, context, FELT)
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
    errors["network"] = {"nearest": _felt(model, layers, inputs)}
    pictures = [scenes.drawn(model.with_dit(_quantized(model, bits, context)), context.seed) for bits in BITS]
    return Panel(
        {"bits": list(BITS), "group_size": GROUP, "layers": drawn, "errors": errors, "inputs": len(inputs[0])},
        {"samples": scenes.sheet([scenes.drawn(model, context.seed), *pictures])},
    )


def histogram(weight: Tensor, rounded: dict[str, dict[int, Tensor]]) -> dict[str, Any]:
    """Counts of weights in `BINS` bins before and after, and the first group of each before and after."""
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
    """Norm of the change of the weights over their norm."""
    return ((new - weight).norm() / weight.norm()).item()


def output_error(weight: Tensor, new: Tensor, moments: rounding.Moments, method: str) -> float:
    """Root mean square change of what the layer puts out over that of its output, without the bias.

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


def _felt(model: Model, layers: dict[str, Any], inputs: Any) -> dict[str, dict[int, float]]:
    """Root mean square change of the network's output when one layer alone is rounded, over that of the output."""
    squares = output_errors(model.dit, layers, inputs, GROUP)
    return {name: {bits: square**0.5 for bits, square in by.items()} for name, by in squares.items()}


def _quantized(model: Model, bits: int, context: Context) -> Any:
    return apply_recipe(model.dit, [{"name": "quantization", "bits": bits, "group_size": GROUP}], context)
