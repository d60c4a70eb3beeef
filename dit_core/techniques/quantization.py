"""Quantization of the linear layers, by torchao.

Weight-only codes are affine, per group of inputs, and packed to exactly `bits` bits; a layer dequantizes its weight
when it runs. That saves bytes everywhere, and time only where reading weights is what takes the time. Dynamic int8
rounds the activations too and multiplies in int8.
"""

import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dit_core.errors import BadRequest
from dit_core.techniques import Context, technique

if TYPE_CHECKING:
    from torch import nn

OUTER = ("x_embedder", "t_embedder", "y_embedder", "final_layer")


@dataclass(frozen=True)
class Quantization:
    """Store weights in few bits, or compute in int8 (Q-DiT, arXiv 2406.17343; torchao).

    Each group of weights shares one scale and one zero point, and each weight becomes a small integer. Fewer bits mean
    fewer bytes and a coarser network. Smaller groups follow the weights more closely but carry more scales.
    """

    mode: str = field(
        default="weight-only",
        metadata={
            "help": "weight-only: small weights, float arithmetic. dynamic-int8: int8 weights and activations, always "
            "8 bits, one scale per row.",
            "choices": ("weight-only", "dynamic-int8"),
        },
    )
    bits: int = field(default=8, metadata={"help": "Bits per weight.", "min": 2, "max": 8})
    group_size: int = field(
        default=64,
        metadata={"help": "Weights that share one scale; smaller is closer and larger.", "choices": (32, 64, 128, 256)},
    )
    skip: str = field(
        default="outer",
        metadata={
            "help": "Layers left in float: none, the embedders and the final layer (outer), or also the modulation of "
            "every block.",
            "choices": ("none", "outer", "outer+modulation"),
        },
    )

    def __post_init__(self) -> None:
        if self.mode == "dynamic-int8" and self.bits != 8:
            raise BadRequest("quantization: mode dynamic-int8 computes in 8 bits: set bits to 8.")


def unavailable(config: Quantization, device: str) -> str | None:
    """int8 matrix products need support of the device; packed weights run anywhere."""
    if config.mode == "dynamic-int8" and device == "cuda":
        import torch

        if torch.cuda.is_available() and torch.cuda.get_device_capability() < (7, 5):
            return "int8 tensor cores need compute capability 7.5 or newer."
    return None


@technique(Quantization, title="Quantization", family="quantization", unavailable=unavailable)
def quantize(model: "nn.Module", config: Quantization, context: Context) -> "nn.Module":
    """A copy of the network whose linear layers are quantized; layers named by `skip` stay in float."""
    import torch
    from torch import nn

    model = copy.deepcopy(model)
    layers: dict[str, nn.Linear] = {
        name: module
        for name, module in model.named_modules()
        if type(module) is nn.Linear and not _skipped(name, config)
    }
    if config.mode == "weight-only":
        for name, layer in layers.items():
            check_group(name, layer.in_features, config.group_size)
    for index, (name, layer) in enumerate(layers.items(), start=1):
        if config.mode == "weight-only":
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, packed_linear(layer, config.bits, config.group_size))
        else:
            dynamic_int8(layer, torch.device(context.device))
        context.progress("quantize", index, len(layers))
    return model


def check_group(name: str, inputs: int, group_size: int) -> None:
    """Raise BadRequest where `group_size` does not divide a layer's inputs."""
    if inputs % group_size:
        raise BadRequest(f"quantization: group_size {group_size} does not divide the {inputs} inputs of {name}.")


def _skipped(name: str, config: Quantization) -> bool:
    outer = name.startswith(OUTER) and config.skip != "none"
    return outer or ("adaLN_modulation" in name and config.skip == "outer+modulation")


def dynamic_int8(layer: "nn.Linear", device: Any) -> None:
    """Make a linear layer compute in int8, with scales of activations found at run time. In place.

    Processors without VNNI add pairs of products in 16 bits: there one bit less is used, or sums would saturate.
    """
    from torchao.quantization import Int8DynamicActivationInt8WeightConfig, quantize_
    from torchao.utils import should_reduce_range

    quantize_(
        layer,
        Int8DynamicActivationInt8WeightConfig(reduce_range=should_reduce_range(device), set_inductor_config=False),
    )


def packed_linear(layer: "nn.Linear", bits: int, group_size: int) -> "nn.Module":
    """A linear layer with weights rounded to `bits` bits per group of `group_size` inputs, packed."""
    import torch
    from torchao.quantization.quant_primitives import MappingType, choose_qparams_affine, quantize_affine

    from dit_core.models.packed import PackedLinear

    block: Any = (1, group_size)
    highest = 2**bits - 1
    weight = layer.weight.detach().float()
    scale, zero = choose_qparams_affine(
        weight, MappingType.ASYMMETRIC, block, torch.uint8, 0, highest, eps=1e-8, zero_point_dtype=torch.uint8
    )
    scale = scale.half()  # stored so: round with the scale that will be used
    codes = quantize_affine(weight, block, scale.float(), zero, torch.uint8, 0, highest)
    rows = len(weight)
    return PackedLinear(codes, scale.view(rows, -1), zero.view(rows, -1), layer.bias, bits)
