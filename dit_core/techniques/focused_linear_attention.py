"""Focused linear attention: feature maps instead of the softmax, so that keys and values are multiplied first."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dit_core.models.structure import Structure, attention_conflict
from dit_core.recipes.context import Context
from dit_core.recipes.knobs import layers_knob, recover_knob
from dit_core.recipes.registry import technique

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class FocusedLinearAttention:
    """Replace the softmax by sharpened features, at linear cost (FLatten, arXiv 2308.00442).

    Raising queries and keys to a power, at constant norm, imitates the sharpness of a softmax. Keys and values are then
    summed into one small matrix per head, whose size does not depend on the number of tokens. The network must learn
    the new attention, so set recover.
    """

    power: int = field(
        default=3,
        metadata={"help": "Sharpness of the features: 1 is none, 3 is the published value.", "min": 1, "max": 8},
    )
    kernel_size: int = field(
        default=3,
        metadata={
            "help": "Side of a depthwise convolution of the values, which restores detail. It starts at zero and needs "
            "training; 0 turns it off.",
            "choices": (0, 3, 5, 7),
        },
    )
    layers: str = layers_knob()
    recover: str = recover_knob()


def incompatible(config: FocusedLinearAttention, network: Structure) -> str | None:
    """Return an error message if an attention was replaced already."""
    return attention_conflict(network, config.layers)


def output_structure(config: FocusedLinearAttention, network: Structure) -> Structure:
    """Return the structure with another attention class in the selected blocks."""
    return network.changed(config.layers, attention="FocusedLinearAttention")


@technique(
    FocusedLinearAttention,
    title="Focused linear attention",
    family="attention",
    incompatible=incompatible,
    output_structure=output_structure,
)
def linearize(model: "nn.Module", config: FocusedLinearAttention, context: Context) -> "nn.Module":
    """Return a copy of the network with focused linear attention in the selected blocks."""
    from dit_core.models import attention
    from dit_core.training.recovery import recover

    def make(trained: Any, nth: int) -> "nn.Module":
        return attention.FocusedLinearAttention(trained, config.power, config.kernel_size)

    student = attention.swap_attention(model, config.layers, make)
    return recover(student, model, config.recover, context, part="attn")
