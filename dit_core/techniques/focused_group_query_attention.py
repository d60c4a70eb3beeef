"""Focused group query attention: keys and values multiplied first, and shared by groups of query heads."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dit_core.models.layers import indivisible, layers_knob
from dit_core.models.outline import Outline, other_attention
from dit_core.techniques import Context, recover_knob, technique

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class FocusedGroupQueryAttention:
    """Focused linear attention with shared keys and values (fast-DiT, arXiv 2509.17894; FLatten, arXiv 2308.00442).

    Both savings together: keys and values are summed into one small matrix, and that once for a whole group of query
    heads. Cost grows linearly with the tokens. The network has to learn the new attention: recover it.
    """

    kv_heads: int = field(
        default=2, metadata={"help": "Heads of keys and values, a divisor of the heads.", "min": 1, "max": 16}
    )
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


def unfit(config: FocusedGroupQueryAttention, network: Outline) -> str | None:
    """Groups have to be of one size."""
    if reason := other_attention(network, config.layers):
        return reason
    return indivisible("kv_heads", config.kv_heads, "heads", network.blocks[0].heads)


def leaves(config: FocusedGroupQueryAttention, network: Outline) -> Outline:
    """Another attention in the chosen blocks."""
    return network.changed(config.layers, attention="FocusedLinearAttention")


@technique(
    FocusedGroupQueryAttention, title="Focused group query attention", family="attention", unfit=unfit, leaves=leaves
)
def linearize_groups(model: "nn.Module", config: FocusedGroupQueryAttention, context: Context) -> "nn.Module":
    """A copy of the network whose chosen blocks have focused linear attention over shared keys and values."""
    from dit_core.models import attention
    from dit_core.training.recovery import recover

    def make(trained: Any, nth: int) -> "nn.Module":
        return attention.FocusedLinearAttention(trained, config.power, config.kernel_size, config.kv_heads)

    student = attention.swap_attention(model, config.layers, make)
    return recover(student, model, config.recover, context, part="attn")
