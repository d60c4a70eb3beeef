"""Focused linear attention: features instead of a softmax, so that keys and values can be multiplied first."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dit_core.models.layers import layers_knob
from dit_core.models.outline import Outline, other_attention
from dit_core.techniques import Context, recover_knob, technique

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class FocusedLinearAttention:
    """Replace the softmax by sharpened features, at linear cost (FLatten, arXiv 2308.00442).

    Queries and keys keep their length and turn towards their largest features, which imitates the sharpness of a
    softmax. Keys and values are then summed into one small matrix a head, whose size does not depend on the tokens.
    The network has to learn the new attention: recover it.
    """

    power: int = field(
        default=3, metadata={"help": "How sharply features focus: 1 not at all, 3 as published.", "min": 1, "max": 8}
    )
    kernel_size: int = field(
        default=3,
        metadata={
            "help": "Side of a depthwise convolution of the values, which brings back detail once it is trained; it "
            "starts at zero, and 0 leaves it out.",
            "choices": (0, 3, 5, 7),
        },
    )
    layers: str = layers_knob()
    recover: str = recover_knob()


def unfit(config: FocusedLinearAttention, network: Outline) -> str | None:
    """The attention has to be there that is replaced."""
    return other_attention(network, config.layers)


def leaves(config: FocusedLinearAttention, network: Outline) -> Outline:
    """Another attention in the chosen blocks."""
    return network.changed(config.layers, attention="FocusedLinearAttention")


@technique(FocusedLinearAttention, title="Focused linear attention", family="attention", unfit=unfit, leaves=leaves)
def linearize(model: "nn.Module", config: FocusedLinearAttention, context: Context) -> "nn.Module":
    """A copy of the network whose chosen blocks have focused linear attention."""
    from dit_core.models import attention
    from dit_core.training.recovery import recover

    def make(trained: Any, nth: int) -> "nn.Module":
        return attention.FocusedLinearAttention(trained, config.power, config.kernel_size)

    student = attention.swap_attention(model, config.layers, make)
    return recover(student, model, config.recover, context, part="attn")
