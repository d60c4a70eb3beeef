"""Token merging: attention over fewer tokens, the most alike of which are merged."""

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dit_core.models.structure import Structure, attention_conflict
from dit_core.recipes.context import Context
from dit_core.recipes.knobs import layers_knob
from dit_core.recipes.registry import technique

if TYPE_CHECKING:
    from torch import nn

MOST = 0.75  # of the tokens: the sources, three in every 2 x 2 window


@dataclass(frozen=True)
class TokenMerging:
    """Merge the most alike tokens before attention and copy the result back after it (ToMe, arXiv 2303.17604).

    In every 2 x 2 window one token is a destination. The other tokens that are most like a destination are averaged
    with it, so that attention and its projections run on fewer tokens. Matching costs time too: it pays for large
    images, whose attention is most of the work, and not for a few dozen tokens. Nothing is trained.
    """

    ratio: float = field(
        default=0.5,
        metadata={
            "help": "Share of the tokens that are merged into others; 0 changes nothing.",
            "min": 0.0,
            "max": MOST,
            "step": 0.05,
        },
    )
    steps: float = field(
        default=1.0,
        metadata={
            "help": "Share of the denoising steps, from the noisiest on, that merge tokens; the rest uses all tokens.",
            "min": 0.0,
            "max": 1.0,
            "step": 0.05,
        },
    )
    layers: str = layers_knob()


def incompatible(config: TokenMerging, network: Structure) -> str | None:
    """Return an error message if windows do not tile the tokens, none would be merged, or attention is not plain."""
    grid = network.size.grid
    if grid % 2:
        return f"windows of 2 x 2 tokens do not tile {grid} x {grid} tokens: leave token_merging out."
    if config.ratio and not merged_tokens(config, grid):
        least = math.ceil(100 / grid**2) / 100
        return f"ratio {config.ratio:g} merges none of {grid**2} tokens: use at least {least:g}."
    return attention_conflict(network, config.layers)


def output_structure(config: TokenMerging, network: Structure) -> Structure:
    """Return the structure with another attention class in the selected blocks."""
    return network.changed(config.layers, attention="MergedAttention")


def merged_tokens(config: TokenMerging, grid: int) -> int:
    """Return how many of `grid` x `grid` tokens are merged into others."""
    return math.floor(config.ratio * grid**2)


@technique(
    TokenMerging,
    title="Token merging",
    family="pruning",
    incompatible=incompatible,
    output_structure=output_structure,
)
def merge_tokens(model: Any, config: TokenMerging, context: Context) -> "nn.Module":
    """Return a copy of the network whose selected blocks attend over fewer tokens in the noisiest steps."""
    from dit_core.models import attention
    from dit_core.models.schedule import ScheduleConfig

    schedule = context.model.config.schedule if context.model else ScheduleConfig()
    trajectory = attention.Trajectory(config.steps, schedule.train_steps) if config.steps < 1 else None
    grid = model.config.grid

    def make(trained: Any, nth: int) -> "nn.Module":
        return attention.MergedAttention(trained, merged_tokens(config, grid), grid, context.seed + nth, trajectory)

    merging = attention.swap_attention(model, config.layers, make)
    if trajectory:
        merging.register_forward_pre_hook(trajectory, with_kwargs=True)
    return merging
