"""Grouped-query attention: heads of queries share heads of keys and values."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dit_core.models.layers import indivisible, layers_knob
from dit_core.models.outline import Outline, other_attention
from dit_core.techniques import Context, recover_knob, technique

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class GroupedQueryAttention:
    """Share each head of keys and values among a group of query heads (GQA, arXiv 2305.13245).

    The shared head is the mean of the trained ones. Their projection shrinks, with its bytes and arithmetic; the
    attention itself costs what it did, and no cache of keys and values is there to be saved as in a language model.
    """

    kv_heads: int = field(
        default=2,
        metadata={
            "help": "Heads of keys and values; all of them changes nothing, 1 is multi-query.",
            "min": 1,
            "max": 16,
        },
    )
    layers: str = layers_knob()
    recover: str = recover_knob()


def unfit(config: GroupedQueryAttention, network: Outline) -> str | None:
    """Groups have to be of one size."""
    if reason := other_attention(network, config.layers):
        return reason
    return indivisible("kv_heads", config.kv_heads, "heads", network.blocks[0].heads)


def leaves(config: GroupedQueryAttention, network: Outline) -> Outline:
    """Another attention in the chosen blocks."""
    return network.changed(config.layers, attention="GroupedQueryAttention")


@technique(GroupedQueryAttention, title="Grouped-query attention", family="attention", unfit=unfit, leaves=leaves)
def group_queries(model: "nn.Module", config: GroupedQueryAttention, context: Context) -> "nn.Module":
    """A copy of the network whose chosen blocks share keys and values among groups of heads."""
    from dit_core.models import attention
    from dit_core.training.recovery import recover

    def make(trained: Any, nth: int) -> "nn.Module":
        return attention.GroupedQueryAttention(trained, config.kv_heads)

    student = attention.swap_attention(model, config.layers, make)
    return recover(student, model, config.recover, context, part="attn")
