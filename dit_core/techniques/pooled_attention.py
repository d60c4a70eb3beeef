"""Pooled attention: tokens attend to keys and values averaged over cells of the grid."""

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
class PooledAttention:
    """Attend to keys and values averaged over a coarser grid (PVT, arXiv 2102.12122; PixArt-Sigma, arXiv 2403.04692).

    Every token still attends to the whole image, at a lower resolution. A factor of 2 leaves a quarter of the keys and
    a quarter of the cost of attention, which still grows with the square of the number of tokens.
    """

    pool: int = field(
        default=2,
        metadata={
            "help": "Side of a cell in tokens, a divisor of the side of the grid; 1 changes nothing.",
            "min": 1,
            "max": 16,
        },
    )
    layers: str = layers_knob()
    recover: str = recover_knob()


def incompatible(config: PooledAttention, network: Structure) -> str | None:
    """Return an error message if an attention was replaced already or the cells do not tile the grid."""
    return attention_conflict(network, config.layers) or indivisible(
        "pool", config.pool, "tokens along a side", network.size.grid
    )


def output_structure(config: PooledAttention, network: Structure) -> Structure:
    """Return the structure with another attention class in the selected blocks."""
    return network.changed(config.layers, attention="PooledAttention")


@technique(
    PooledAttention,
    title="Pooled attention",
    family="attention",
    incompatible=incompatible,
    output_structure=output_structure,
)
def pool_keys(model: "nn.Module", config: PooledAttention, context: Context) -> "nn.Module":
    """Return a copy of the network whose selected blocks attend to pooled keys and values."""
    from dit_core.models import attention
    from dit_core.training.recovery import recover

    def make(trained: Any, nth: int) -> "nn.Module":
        return attention.PooledAttention(trained, config.pool)

    student = attention.swap_attention(model, config.layers, make)
    return recover(student, model, config.recover, context, part="attn")
