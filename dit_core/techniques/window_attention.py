"""Window attention: tokens attend only within small squares."""

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
class WindowAttention:
    """Let tokens attend only within windows of the image (Swin, arXiv 2103.14030).

    At a fixed window size, cost grows linearly with the number of tokens. Information passes between windows only over
    several layers, if the windows are shifted. Full attention in some layers keeps the image coherent.
    """

    window: int = field(
        default=2,
        metadata={"help": "Side of a window in tokens, a divisor of the side of the grid.", "min": 1, "max": 128},
    )
    shift: bool = field(
        default=True,
        metadata={"help": "Shift the windows by half their side in every second changed block, as Swin does."},
    )
    layers: str = layers_knob()
    recover: str = recover_knob()


def incompatible(config: WindowAttention, network: Structure) -> str | None:
    """Return an error message if an attention was replaced already or the windows do not tile the grid."""
    return attention_conflict(network, config.layers) or indivisible(
        "window", config.window, "tokens along a side", network.size.grid
    )


def output_structure(config: WindowAttention, network: Structure) -> Structure:
    """Return the structure with another attention class in the selected blocks."""
    return network.changed(config.layers, attention="WindowAttention")


@technique(
    WindowAttention,
    title="Window attention",
    family="attention",
    incompatible=incompatible,
    output_structure=output_structure,
)
def cut_windows(model: Any, config: WindowAttention, context: Context) -> "nn.Module":
    """Return a copy of the network whose selected blocks attend within windows."""
    from dit_core.models import attention
    from dit_core.training.recovery import recover

    def make(trained: Any, nth: int) -> "nn.Module":
        shifted = config.shift and nth % 2 == 1
        return attention.WindowAttention(trained, config.window, shifted, model.config.grid)

    student = attention.swap_attention(model, config.layers, make)
    return recover(student, model, config.recover, context, part="attn")
