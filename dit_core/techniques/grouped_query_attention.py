"""Grouped-query attention: groups of query heads share key and value heads."""

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
class GroupedQueryAttention:
    """Share each key and value head among a group of query heads (GQA, arXiv 2305.13245).

    The shared head is the mean of the trained heads. The projection gets smaller, with its weights and operations. The
    attention itself costs the same: unlike a language model, a diffusion transformer has no cache of keys and values.
    """

    kv_heads: int = field(
        default=2,
        metadata={
            "help": "Number of key and value heads. 1 is multi-query attention; the full number changes nothing.",
            "min": 1,
            "max": 16,
        },
    )
    layers: str = layers_knob()
    recover: str = recover_knob()


def incompatible(config: GroupedQueryAttention, network: Structure) -> str | None:
    """Return an error message if an attention was replaced already or the heads do not divide into groups."""
    if reason := attention_conflict(network, config.layers):
        return reason
    return indivisible("kv_heads", config.kv_heads, "heads", network.blocks[0].heads)


def output_structure(config: GroupedQueryAttention, network: Structure) -> Structure:
    """Return the structure with another attention class in the selected blocks."""
    return network.changed(config.layers, attention="GroupedQueryAttention")


@technique(
    GroupedQueryAttention,
    title="Grouped-query attention",
    family="attention",
    incompatible=incompatible,
    output_structure=output_structure,
)
def group_queries(model: "nn.Module", config: GroupedQueryAttention, context: Context) -> "nn.Module":
    """Return a copy of the network whose selected blocks share keys and values among groups of heads."""
    from dit_core.models import attention
    from dit_core.training.recovery import recover

    def make(trained: Any, nth: int) -> "nn.Module":
        return attention.GroupedQueryAttention(trained, config.kv_heads)

    student = attention.swap_attention(model, config.layers, make)
    return recover(student, model, config.recover, context, part="attn")
