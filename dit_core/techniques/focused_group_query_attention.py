"""Focused group query attention: linear attention whose keys and values are shared by groups of query heads."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dit_core.models.layers import indivisible
from dit_core.models.structure import Structure, attention_conflict
from dit_core.recipes.context import Context
from dit_core.recipes.knobs import layers_knob, recover_knob
from dit_core.recipes.registry import technique

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class FocusedGroupQueryAttention:
    """Use focused linear attention with shared keys and values (fast-DiT, arXiv 2509.17894; FLatten, arXiv 2308.00442).

    It combines both savings: keys and values are summed into one small matrix, once for a group of query heads. Cost
    grows linearly with the number of tokens. The network must learn the new attention, so set recover.
    """

    kv_heads: int = field(
        default=2,
        metadata={"help": "Number of key and value heads, a divisor of the number of heads.", "min": 1, "max": 16},
    )
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


def incompatible(config: FocusedGroupQueryAttention, network: Structure) -> str | None:
    """Return an error message if an attention was replaced already or the heads do not divide into groups."""
    if reason := attention_conflict(network, config.layers):
        return reason
    return indivisible("kv_heads", config.kv_heads, "heads", network.blocks[0].heads)


def output_structure(config: FocusedGroupQueryAttention, network: Structure) -> Structure:
    """Return the structure with another attention class in the selected blocks."""
    return network.changed(config.layers, attention="FocusedLinearAttention")


@technique(
    FocusedGroupQueryAttention,
    title="Focused group query attention",
    family="attention",
    incompatible=incompatible,
    output_structure=output_structure,
)
def linearize_groups(model: "nn.Module", config: FocusedGroupQueryAttention, context: Context) -> "nn.Module":
    """Return a copy of the network with focused linear attention over shared keys and values."""
    from dit_core.models import attention
    from dit_core.training.recovery import recover

    def make(trained: Any, nth: int) -> "nn.Module":
        return attention.FocusedLinearAttention(trained, config.power, config.kernel_size, config.kv_heads)

    student = attention.swap_attention(model, config.layers, make)
    return recover(student, model, config.recover, context, part="attn")
