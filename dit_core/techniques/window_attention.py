"""Window attention: tokens attend within small squares."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dit_core.models.layers import indivisible, layers_knob
from dit_core.models.outline import Outline, other_attention
from dit_core.techniques import Context, recover_knob, technique

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class WindowAttention:
    """Let tokens attend only within windows of the image (Swin, arXiv 2103.14030).

    Cost grows linearly with the tokens while the window stays. What lies outside is seen by way of several layers
    only, if windows shift between them; keeping full attention in some layers keeps the image together.
    """

    window: int = field(
        default=2, metadata={"help": "Side of a window in tokens, a divisor of the grid.", "min": 1, "max": 128}
    )
    shift: bool = field(
        default=True, metadata={"help": "Move the windows by half in every other changed block, as Swin does."}
    )
    layers: str = layers_knob()
    recover: str = recover_knob()


def unfit(config: WindowAttention, network: Outline) -> str | None:
    """Windows have to tile the grid."""
    return other_attention(network, config.layers) or indivisible(
        "window", config.window, "tokens along a side", network.size.grid
    )


def leaves(config: WindowAttention, network: Outline) -> Outline:
    """Another attention in the chosen blocks."""
    return network.changed(config.layers, attention="WindowAttention")


@technique(WindowAttention, title="Window attention", family="attention", unfit=unfit, leaves=leaves)
def cut_windows(model: Any, config: WindowAttention, context: Context) -> "nn.Module":
    """A copy of the network whose chosen blocks attend within windows."""
    from dit_core.models import attention
    from dit_core.training.recovery import recover

    def make(trained: Any, nth: int) -> "nn.Module":
        shifted = config.shift and nth % 2 == 1
        return attention.WindowAttention(trained, config.window, shifted, model.config.grid)

    student = attention.swap_attention(model, config.layers, make)
    return recover(student, model, config.recover, context, part="attn")
