"""Quantization of the linear layers.

Weight-only codes are affine, per group of inputs, and packed to exactly their bits; a layer dequantizes its weight when
it runs. That saves bytes everywhere, and time only where reading weights is what takes the time. The other modes
compute in a smaller type: dynamic int8 on any device, int4 and float8 on the tensor cores that have them, by torchao.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dit_core.errors import BadRequest, Cancelled
from dit_core.models.layers import SKIP, linear_layers
from dit_core.models.outline import Outline, experts_stay
from dit_core.techniques import Context, technique

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from dit_core.models.packed import PackedLinear

PACKED = ("weight-only", "mixed")
CASTS = ("float16", "bfloat16")
USUAL_BITS = {"dynamic-int8": 8, "float8": 8, "int4": 4}  # of the modes that leave no choice
CAPABILITY = {"dynamic-int8": (7, 5), "int4": (8, 0), "float8": (8, 9)}  # of the CUDA device
GROUP_SIZES = (32, 64, 128, 256)
KEPT_BITS = 8  # of the layers that `skip` keeps out of fewer


@dataclass(frozen=True)
class Quantization:
    """Store weights in few bits, or compute in a smaller type (Q-DiT, arXiv 2406.17343; GPTQ, arXiv 2210.17323; HQQ).

    Each group of weights shares one scale and one zero point, and each weight becomes a small integer. Fewer bits mean
    fewer bytes and a coarser network. Smaller groups follow the weights more closely but carry more scales.
    """

    mode: str = field(
        default="weight-only",
        metadata={
            "help": "weight-only: small weights, float arithmetic. mixed: the same, but each layer has its own bits, "
            "more where the images feel it, and `bits` on average. dynamic-int8: int8 weights and activations, always "
            "8 bits, one scale per row. float16, bfloat16: the whole network in that type, half the bytes; a processor "
            "without instructions for it computes slower than in float32. int4 and float8: on the tensor cores of "
            "NVIDIA GPUs, the rest in bfloat16; int4 pads the inputs of a layer to multiples of 1024.",
            "choices": (*PACKED, "dynamic-int8", *CASTS, "int4", "float8"),
        },
    )
    bits: int = field(
        default=8,
        metadata={
            "help": "Bits per weight; of mixed, the average that it may spend.",
            "min": 2,
            "max": 8,
            "used": ({"mode": PACKED},),
        },
    )
    group_size: int = field(
        default=64,
        metadata={
            "help": "Weights that share one scale; smaller is closer and larger.",
            "choices": GROUP_SIZES,
            "used": ({"mode": (*PACKED, "int4")},),
        },
    )
    skip: str = field(
        default="outer",
        metadata={
            "help": "Layers kept more exact, at 8 bits where the mode is weight-only or mixed, else in float: none, "
            "the embedders and the final layer (outer), or also the modulation of every block. Float casts take all.",
            "choices": SKIP,
            "used": ({"mode": (*PACKED, *USUAL_BITS)},),
        },
    )
    method: str = field(
        default="nearest",
        metadata={
            "help": "How weights become codes. nearest: each to the closest. hqq: with zero points that leave most "
            "weights a small error. gptq: one column after the other, each making up for the errors before it on the "
            "activations of calibration inputs; slower to make, best at 2 to 4 bits.",
            "choices": ("nearest", "hqq", "gptq"),
            "used": ({"mode": (*PACKED, "int4")},),
        },
    )
    calibration: int = field(
        default=512,
        metadata={
            "help": "Calibration inputs for gptq, drawn from all timesteps; mixed looks at the first 32 of them, the "
            "others at none.",
            "min": 1,
            "max": 4096,
            "used": ({"method": ("gptq",)}, {"mode": ("mixed",)}),
        },
    )

    def __post_init__(self) -> None:
        if self.mode in USUAL_BITS and self.bits != (bits := USUAL_BITS[self.mode]):
            raise BadRequest(f"quantization: mode {self.mode} computes in {bits} bits: set bits to {bits}.")
        if self.mode in CASTS and self.bits != 8:
            raise BadRequest(f"quantization: mode {self.mode} keeps 16 bits a weight: leave bits at 8.")
        fits = (*PACKED, "int4") if self.method == "hqq" else PACKED
        if self.method != "nearest" and self.mode not in fits:
            wrong = f"method {self.method} has no meaning for mode {self.mode}"
            raise BadRequest(f"quantization: {wrong}: use nearest, or one of the modes {', '.join(fits)}.")


def unavailable(config: Quantization, device: str) -> str | None:
    """Products in few bits need tensor cores, but int8 runs on a CPU too; packed weights and casts run anywhere."""
    needed = CAPABILITY.get(config.mode)
    if needed is None or (device == "cpu" and config.mode == "dynamic-int8"):
        return None
    reason = f"mode {config.mode} needs an NVIDIA GPU of compute capability {needed[0]}.{needed[1]} or newer"
    if device != "cuda":
        return f"{reason}: use mode weight-only with bits {config.bits}."
    import torch

    if torch.cuda.is_available() and (found := torch.cuda.get_device_capability()) < needed:
        return f"{reason}, and this one has {found[0]}.{found[1]}: use mode weight-only with bits {config.bits}."
    return None


def unfit(config: Quantization, network: Outline) -> str | None:
    """Groups are of one size, and experts are packed alike, without looking at what they are given."""
    packs_experts = config.mode == "weight-only" and config.method != "gptq"
    if config.mode not in CASTS and not packs_experts and (reason := experts_stay(network, "quantized so")):
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


@technique(Quantization, title="Quantization", family="quantization", unavailable=unavailable, unfit=unfit, packs=True)
def quantize(model: "nn.Module", config: Quantization, context: Context) -> "nn.Module":
    """A copy of the network with quantized linears; raises BadRequest where none is left or a group does not fit."""
    import torch

    model = copy.deepcopy(model)
    if config.mode in CASTS:
        return model.to(getattr(torch, config.mode))
    layers = linear_layers(model, "none" if config.mode in PACKED else config.skip)
    if not layers:
        raise BadRequest("quantization: no plain linear layer is left to quantize.")
    if config.mode in (*PACKED, "int4"):
        for name, layer in layers.items():
            if layer.in_features % config.group_size:
                raise BadRequest(f"quantization: {_indivisible(config.group_size, layer.in_features, name)}")
    if config.mode in ("int4", "float8"):
        model = model.to(torch.bfloat16)
    new = _packer(model, layers, config, context) if config.mode in PACKED else _computing(config, context.device)
    for index, (name, layer) in enumerate(layers.items(), start=1):
        if context.cancelled():
            raise Cancelled("The run was cancelled.")
        model.set_submodule(name, new(name, layer))
        context.progress("quantize", index, len(layers))
    if config.mode == "weight-only":
        _pack_experts(model, config)
    return model


def _pack_experts(model: "nn.Module", config: Quantization) -> None:
    """Pack the experts of every mixture, in place."""
    from dit_core.models.experts import Mixture
    from dit_core.models.packed import PackedMixture

    found = [(name, module) for name, module in model.named_modules() if type(module) is Mixture]
    for name, mixture in found:
        packed = [packed_weight(matrix, config.bits, config.group_size, config.method) for matrix in mixture.matrices()]
        model.set_submodule(name, PackedMixture(mixture, *packed))


def _indivisible(group_size: int, inputs: int, name: str) -> str:
    return f"group_size {group_size} does not divide the {inputs} inputs of {name}."


def _packer(
    model: "nn.Module", layers: "dict[str, nn.Linear]", config: Quantization, context: Context
) -> "Callable[[str, nn.Linear], nn.Module]":
    """What makes a packed layer of a plain one; what it has to know of the network is measured here."""
    from dit_core.training.bit_budget import output_errors, spend
    from dit_core.training.calibration import calibration
    from dit_core.training.rounding import input_moments

    chosen = linear_layers(model, config.skip)
    bits = {name: config.bits if name in chosen else max(config.bits, KEPT_BITS) for name in layers}
    moments: dict[str, Any] = {}
    if config.mode == "mixed" or config.method == "gptq":
        inputs = calibration(model, context, config.calibration)
        if config.mode == "mixed":
            sizes = {name: layer.weight.numel() for name, layer in chosen.items()}
            bits |= spend(output_errors(model, chosen, inputs, config.group_size), sizes, config.bits)
        if config.method == "gptq":
            moments = input_moments(model, list(layers), inputs)

    def packed(name: str, layer: "nn.Linear") -> "nn.Module":
        return packed_linear(layer, bits[name], config.group_size, config.method, moments.get(name))

    return packed


def packed_linear(
    layer: "nn.Linear", bits: int, group_size: int, method: str = "nearest", moments: Any = None
) -> "nn.Module":
    """A linear layer with weights rounded to `bits` bits per group of `group_size` inputs, packed.

    `gptq` needs the `training.rounding.Moments` of the layer's inputs, and moves the mean of the error into the bias.
    """
    from dit_core.models.packed import PackedLinear
    from dit_core.training import rounding

    if method != "gptq":
        return packed_weight(layer.weight, bits, group_size, method, layer.bias)
    weight = layer.weight.detach().float()
    found = rounding.gptq(weight, bits, group_size, moments)
    mean = (weight - found.weight) @ moments.mean
    bias = mean if layer.bias is None else layer.bias.detach() + mean
    return PackedLinear(found.codes, found.scale, found.zero, bias, bits)


def packed_weight(
    weight: "Tensor", bits: int, group_size: int, method: str, bias: "Tensor | None" = None
) -> "PackedLinear":
    """A layer with this weight (out, in) rounded by a method that needs no inputs, packed."""
    from dit_core.models.packed import PackedLinear
    from dit_core.training import rounding

    found = {"nearest": rounding.nearest, "hqq": rounding.hqq}[method](weight.detach().float(), bits, group_size)
    return PackedLinear(found.codes, found.scale, found.zero, bias, bits)


def _computing(config: Quantization, device: "torch.device") -> "Callable[[str, nn.Linear], nn.Module]":
    """What makes a layer that computes in fewer bits of a plain one."""
    from torchao.quantization import (
        Float8DynamicActivationFloat8WeightConfig,
        Int4WeightOnlyConfig,
        PerRow,
        quantize_,
    )

    if config.mode == "dynamic-int8":
        return lambda name, layer: dynamic_int8(layer, device)
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
    """A linear layer that computes in int8, with scales of activations found at run time.

    Processors without VNNI add pairs of products in 16 bits: there one bit less is used, or sums would saturate.
    """
    from torchao.quantization import Int8DynamicActivationInt8WeightConfig, quantize_
    from torchao.utils import should_reduce_range

    from dit_core.models.int8 import Int8Linear

    if device.type == "cpu":
        return Int8Linear(layer, highest=63 if should_reduce_range(device) else 127)
    quantize_(layer, Int8DynamicActivationInt8WeightConfig(set_inductor_config=False))
    return layer
