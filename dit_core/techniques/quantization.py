"""Quantization of the linear layers.

Weight-only codes are affine per group of inputs and packed without padding; a layer dequantizes its weight when it
runs. This always saves memory, and time only if reading the weights is the bottleneck. The other modes compute in a
smaller type: dynamic int8 on any device, int4 and float8 on tensor cores that support them, with torchao.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dit_core.errors import BadRequest, Cancelled
from dit_core.models.layers import SKIP, linear_layers
from dit_core.models.structure import Structure, experts_conflict
from dit_core.recipes.context import Context
from dit_core.recipes.registry import technique
from dit_core.system import devices

if TYPE_CHECKING:
    import torch
    from torch import nn


PACKED = ("weight-only", "mixed")
CASTS = ("float16", "bfloat16")
FIXED_BITS = {"dynamic-int8": 8, "float8": 8, "int4": 4}  # of the modes with one possible number of bits
CAPABILITY = {"dynamic-int8": (7, 5), "int4": (8, 0), "float8": (8, 9)}  # of the CUDA device
CALIBRATED = ("gptq", "low_rank", "rotated")  # methods that need calibration inputs
GROUP_SIZES = (32, 64, 128, 256)
FLOAT8_MULTIPLE = 16  # of the inputs and outputs that float8 products take
KEPT_BITS = 8  # of the layers that `skip` excludes from fewer bits


@dataclass(frozen=True)
class Quantization:
    """Store weights in few bits, or compute in a smaller type (Q-DiT, arXiv 2406.17343; GPTQ, arXiv 2210.17323; HQQ).

    Each weight becomes a small integer, and a group of weights shares one scale and one zero point. Fewer bits need
    less memory but round more. Smaller groups round less but need more scales.
    """

    mode: str = field(
        default="weight-only",
        metadata={
            "help": "weight-only: integer weights, multiplication in float. mixed: weight-only with more bits in "
            "sensitive layers and `bits` on average. dynamic-int8: weights and activations in int8, one scale per "
            "row. float16, bfloat16: the whole network in this type, half the memory; slower than float32 on a "
            "processor without instructions for it. int4, float8: on tensor cores of NVIDIA GPUs, the other layers in "
            "bfloat16; int4 pads the inputs of a layer to multiples of 1024, float8 leaves layers whose inputs or "
            "outputs are no multiple of 16 in bfloat16. The record counts the products of each type.",
            "choices": (*PACKED, "dynamic-int8", *CASTS, "int4", "float8"),
        },
    )
    bits: int = field(
        default=8,
        metadata={
            "help": "Bits per weight; for mixed, the average over all weights.",
            "min": 2,
            "max": 8,
            "active_when": ({"mode": PACKED},),
        },
    )
    group_size: int = field(
        default=64,
        metadata={
            "help": "Number of weights that share one scale. Smaller groups round less but need more memory.",
            "choices": GROUP_SIZES,
            "active_when": ({"mode": (*PACKED, "int4")},),
        },
    )
    skip: str = field(
        default="outer",
        metadata={
            "help": "Layers with higher precision (8 bits for weight-only and mixed, else float): none, the embedders "
            "and the final layer (outer), or also the modulation of every block.",
            "choices": SKIP,
            "active_when": ({"mode": (*PACKED, *FIXED_BITS)},),
        },
    )
    method: str = field(
        default="nearest",
        metadata={
            "help": "Rounding. nearest: each weight to the nearest code. hqq: zero points are optimized for small "
            "errors. gptq: column by column, each correcting the output error of the columns before it on calibration "
            "inputs; slower to prepare, best at 2 to 4 bits. low_rank: gptq of what a product of `rank` columns in 16 "
            "bits leaves (SVDQuant, arXiv 2411.05007). rotated: gptq of weights whose outliers a Hadamard rotation of "
            "the inputs spreads (QuaRot, arXiv 2404.00456).",
            "choices": ("nearest", "hqq", *CALIBRATED),
            "active_when": ({"mode": (*PACKED, "int4")},),
        },
    )
    calibration: int = field(
        default=512,
        metadata={
            "help": "Number of calibration inputs for gptq, low_rank and rotated, from all timesteps; mixed uses the "
            "first 32.",
            "min": 1,
            "max": 4096,
            "active_when": ({"method": CALIBRATED}, {"mode": ("mixed",)}),
        },
    )
    rank: int = field(
        default=4,
        metadata={
            "help": "Columns of the product that low_rank keeps in 16 bits. Every one costs 16 bits for each input and "
            "output of a layer.",
            "min": 1,
            "max": 128,
            "active_when": ({"method": ("low_rank",)},),
            "omit_default": True,
        },
    )
    activation_bits: int = field(
        default=32,
        metadata={
            "help": "Bits of the inputs of a layer with method low_rank or rotated; 8 rounds every token to int8. The "
            "multiplication stays in float, so this shows the quality and saves no time.",
            "choices": (32, 8),
            "active_when": ({"method": ("low_rank", "rotated")},),
            "omit_default": True,
        },
    )

    def __post_init__(self) -> None:
        if self.mode in FIXED_BITS and self.bits != (bits := FIXED_BITS[self.mode]):
            raise BadRequest(f"quantization: mode {self.mode} computes in {bits} bits: set bits to {bits}.")
        if self.mode in CASTS and self.bits != 8:
            raise BadRequest(f"quantization: mode {self.mode} has 16 bits per weight: leave bits at 8.")
        modes = (*PACKED, "int4") if self.method == "hqq" else PACKED
        if self.activation_bits != 32 and self.method not in ("low_rank", "rotated"):
            raise BadRequest("quantization: only low_rank and rotated round activations: leave activation_bits at 32.")
        if self.method != "nearest" and self.mode not in modes:
            problem = f"method {self.method} does not apply to mode {self.mode}"
            raise BadRequest(f"quantization: {problem}: use nearest, or one of the modes {', '.join(modes)}.")


def precision_conflict(config: Quantization, precision: str) -> str | None:
    """Return an error message if a mode that converts the network has nothing to do, or another type."""
    if config.mode in CASTS and precision in CASTS:
        return f"mode {config.mode} converts a network of 32 bits: set precision to float32 or tf32."
    if config.mode in ("int4", "float8") and precision == "float16":
        return f"mode {config.mode} computes in bfloat16: set precision to bfloat16."
    return None


def unsupported(config: Quantization, device: str) -> str | None:
    """Return an error message if a mode needs tensor cores that the device does not have. int8 also runs on a CPU."""
    needed = CAPABILITY.get(config.mode)
    if needed is None or (device == "cpu" and config.mode == "dynamic-int8"):
        return None
    reason = f"mode {config.mode} needs an NVIDIA GPU of compute capability {needed[0]}.{needed[1]} or newer"
    if devices.kind(device) != "cuda":
        return f"{reason}: use mode weight-only with bits {config.bits}."
    found = devices.find(device)
    if found and (capability := found.capability) and capability < needed:
        return (
            f"{reason}, and this one has {capability[0]}.{capability[1]}: use mode weight-only with bits {config.bits}."
        )
    return None


def incompatible(config: Quantization, network: Structure) -> str | None:
    """Return an error message if groups do not divide a layer's inputs, or a mode cannot quantize experts."""
    packs_experts = config.mode == "weight-only" and config.method not in CALIBRATED
    if config.mode not in CASTS and not packs_experts and (reason := experts_conflict(network, "quantized this way")):
        return f"{reason[:-1]} or use mode weight-only with method nearest or hqq."
    if config.mode not in (*PACKED, "int4"):
        return None
    layers = network.linear_inputs()
    for name, inputs in layers.items():
        if inputs % config.group_size:
            reason = _indivisible(config.group_size, inputs, name)
            fitting = [str(size) for size in GROUP_SIZES if not any(inputs % size for inputs in layers.values())]
            return f"{reason} " + (f"Use {', '.join(fitting)}." if fitting else "No other size divides all layers.")
    return None


@technique(
    Quantization,
    title="Quantization",
    family="quantization",
    unsupported=unsupported,
    precision_conflict=precision_conflict,
    incompatible=incompatible,
    terminal=True,
)
def quantize(model: "nn.Module", config: Quantization, context: Context) -> "nn.Module":
    """Return a copy of the network with quantized linear layers.

    Raises BadRequest if it has no plain linear layer or a group does not divide the inputs of a layer.
    """
    import torch

    model = copy.deepcopy(model)
    if config.mode in CASTS:
        return model.to(getattr(torch, config.mode))
    layers = linear_layers(model, "none" if config.mode in PACKED else config.skip)
    if config.mode == "float8":  # torchao would leave the others in bfloat16 without a word
        layers = {name: layer for name, layer in layers.items() if not _misfits_float8(layer)}
    if not layers:
        fitting = f" with inputs and outputs in multiples of {FLOAT8_MULTIPLE}" if config.mode == "float8" else ""
        raise BadRequest(f"quantization: no plain linear layer{fitting} is left to quantize.")
    if config.mode in (*PACKED, "int4"):
        for name, layer in layers.items():
            if layer.in_features % config.group_size:
                raise BadRequest(f"quantization: {_indivisible(config.group_size, layer.in_features, name)}")
    if config.mode in ("int4", "float8"):
        model = model.to(torch.bfloat16)
    new = (
        _packer(model, layers, config, context)
        if config.mode in PACKED
        else _computing(config, context.device, context.dtype)
    )
    for index, (name, layer) in enumerate(layers.items(), start=1):
        if context.cancelled():
            raise Cancelled("The run was cancelled.")
        model.set_submodule(name, new(name, layer))
        context.progress("quantize", index, len(layers))
    if config.mode == "weight-only":
        _pack_experts(model, config)
    return model


def _pack_experts(model: "nn.Module", config: Quantization) -> None:
    """Pack the experts of every mixture in place."""
    from dit_core.compression.packing import packed_weight
    from dit_core.models.experts import Mixture
    from dit_core.models.packed import PackedMixture

    mixtures = [(name, module) for name, module in model.named_modules() if type(module) is Mixture]
    for name, mixture in mixtures:
        packed = [packed_weight(matrix, config.bits, config.group_size, config.method) for matrix in mixture.matrices()]
        model.set_submodule(name, PackedMixture(mixture, *packed))


def _misfits_float8(layer: "nn.Linear") -> bool:
    return bool(layer.in_features % FLOAT8_MULTIPLE or layer.out_features % FLOAT8_MULTIPLE)


def _indivisible(group_size: int, inputs: int, name: str) -> str:
    return f"group_size {group_size} does not divide the {inputs} inputs of {name}."


def _packer(
    model: "nn.Module", layers: "dict[str, nn.Linear]", config: Quantization, context: Context
) -> "Callable[[str, nn.Linear], nn.Module]":
    """Return a function that packs a linear layer. Bits and moments that it needs are measured here."""
    from dit_core.compression import packing
    from dit_core.compression.bit_allocation import output_errors, spend
    from dit_core.compression.calibration import calibration
    from dit_core.compression.rounding import input_moments

    chosen = linear_layers(model, config.skip)
    bits = {name: config.bits if name in chosen else max(config.bits, KEPT_BITS) for name in layers}
    moments: dict[str, Any] = {}
    if config.mode == "mixed" or config.method in CALIBRATED:
        inputs = calibration(model, context, config.calibration)
        if config.mode == "mixed":
            sizes = {name: layer.weight.numel() for name, layer in chosen.items()}
            bits |= spend(output_errors(model, chosen, inputs, config.group_size), sizes, config.bits)
        if config.method in CALIBRATED:
            moments = input_moments(model, list(layers), inputs)

    def packed(name: str, layer: "nn.Linear") -> "nn.Module":
        found: Any = moments.get(name)
        group, activations = config.group_size, config.activation_bits
        if config.method == "low_rank":
            return packing.low_rank_linear(layer, bits[name], group, config.rank, found, activations)
        if config.method == "rotated":
            return packing.rotated_linear(layer, bits[name], group, found, activations)
        return packing.packed_linear(layer, bits[name], group, config.method, found)

    return packed


def _computing(
    config: Quantization, device: "torch.device", dtype: "torch.dtype | None"
) -> "Callable[[str, nn.Linear], nn.Module]":
    """Return a function that makes a linear layer compute in fewer bits."""
    from torchao.quantization import (
        Float8DynamicActivationFloat8WeightConfig,
        Int4WeightOnlyConfig,
        PerRow,
        quantize_,
    )

    if config.mode == "dynamic-int8":
        return lambda name, layer: dynamic_int8(layer.to(dtype=dtype) if dtype else layer, device)
    settings: Any = (
        Int4WeightOnlyConfig(
            config.group_size,
            set_inductor_config=False,
            int4_packing_format="tile_packed_to_4d",  # type: ignore[arg-type]
            int4_choose_qparams_algorithm="hqq" if config.method == "hqq" else "tinygemm",  # type: ignore[arg-type]
        )
        if config.mode == "int4"
        else Float8DynamicActivationFloat8WeightConfig(granularity=PerRow(), set_inductor_config=False)
    )

    def torchao_linear(name: str, layer: "nn.Linear") -> "nn.Module":
        quantize_(layer, settings)
        return layer

    return torchao_linear


def dynamic_int8(layer: "nn.Linear", device: "torch.device") -> "nn.Module":
    """Return a linear layer that computes in int8, with activation scales computed at run time.

    Processors without VNNI add pairs of products in 16 bits. One bit less is used there, or sums would saturate. On a
    GPU, torchao's layer multiplies in float32 for few rows, and on the processor for sides that cuBLAS does not take;
    here, zeros fill both up.
    """
    from torchao.quantization import Int8DynamicActivationInt8WeightConfig, quantize_
    from torchao.utils import should_reduce_range

    from dit_core.models.int8 import MULTIPLE, FewestRows, Int8Linear

    if device.type == "cpu":
        return Int8Linear(layer, highest=63 if should_reduce_range(device) else 127)
    if layer.in_features % MULTIPLE or layer.out_features % MULTIPLE:
        return Int8Linear(layer)
    quantize_(layer, Int8DynamicActivationInt8WeightConfig(set_inductor_config=False))
    return FewestRows(layer)
