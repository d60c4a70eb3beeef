"""Pooled attention: all tokens attend to a coarser picture of themselves."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dit_core.models.layers import indivisible, layers_knob
from dit_core.models.outline import Outline, other_attention
from dit_core.techniques import Context, recover_knob, technique

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class PooledAttention:
    """Attend to keys and values averaged over a coarser grid (PVT, arXiv 2102.12122; PixArt-Sigma, arXiv 2403.04692).

    Every token still sees the whole image, but blurred: a factor of 2 leaves a quarter of the keys and so a quarter of
    the attention's cost, which still grows with the square of the tokens.
    """

    pool: int = field(
        default=2,
        metadata={
            "help": "Tokens along a side that share a key, a divisor of the grid; 1 is exact.",
            "min": 1,
            "max": 16,
        },
    )
    layers: str = layers_knob()
    recover: str = recover_knob()


def unfit(config: PooledAttention, network: Outline) -> str | None:
    """Cells have to tile the grid."""
    return other_attention(network, config.layers) or indivisible(
        "pool", config.pool, "tokens along a side", network.size.grid
    )


def leaves(config: PooledAttention, network: Outline) -> Outline:
    """Another attention in the chosen blocks."""
    return network.changed(config.layers, attention="PooledAttention")


@technique(PooledAttention, title="Pooled attention", family="attention", unfit=unfit, leaves=leaves)
def pool_keys(model: "nn.Module", config: PooledAttention, context: Context) -> "nn.Module":
    """A copy of the network whose chosen blocks attend to pooled keys and values."""
    from dit_core.models import attention
    from dit_core.training.recovery import recover

    def make(trained: Any, nth: int) -> "nn.Module":
        return attention.PooledAttention(trained, config.pool)

    student = attention.swap_attention(model, config.layers, make)
    return recover(student, model, config.recover, context, part="attn")
