"""Mediated attention: a few pooled queries stand between queries and keys."""

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dit_core.models.layers import layers_knob
from dit_core.models.outline import Outline, other_attention
from dit_core.techniques import Context, recover_knob, technique

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class MediatedAttention:
    """Let tokens attend through a few mediators (arXiv 2408.05710; Agent Attention, arXiv 2312.08874).

    Mediators are queries averaged over cells of the token grid. They attend to all tokens and all tokens attend to
    them, so that cost grows with tokens times mediators instead of tokens squared: it pays where tokens are many.
    Early steps decide the coarse layout and bear it best.
    """

    mediators: int = field(
        default=4,
        metadata={"help": "Mediators, a square number whose side divides the token grid.", "min": 1, "max": 4096},
    )
    steps: float = field(
        default=1.0,
        metadata={
            "help": "Share of the trajectory, from the noisiest step on, that is mediated; the rest attends in full.",
            "min": 0.0,
            "max": 1.0,
            "step": 0.05,
        },
    )
    assignment: str = field(
        default="softmax",
        metadata={
            "help": "How tokens read from mediators. softmax: each attends to all of them, as in the paper. nearest: "
            "each takes what its own cell found, which is full attention where mediators are as many as tokens.",
            "choices": ("softmax", "nearest"),
        },
    )
    layers: str = layers_knob()
    recover: str = recover_knob()


def unfit(config: MediatedAttention, network: Outline) -> str | None:
    """Mediators have to form a square that divides the grid."""
    side, grid = math.isqrt(config.mediators), network.size.grid
    if side**2 == config.mediators and grid % side == 0:
        return other_attention(network, config.layers)
    fitting = [str(n**2) for n in range(1, grid + 1) if grid % n == 0]
    return f"mediators {config.mediators} is no square that fits {grid} x {grid} tokens: use {', '.join(fitting)}."


def leaves(config: MediatedAttention, network: Outline) -> Outline:
    """Another attention in the chosen blocks."""
    return network.changed(config.layers, attention="MediatedAttention")


@technique(MediatedAttention, title="Mediated attention", family="attention", unfit=unfit, leaves=leaves)
def mediate(model: "nn.Module", config: MediatedAttention, context: Context) -> "nn.Module":
    """A copy of the network whose chosen blocks attend through mediators in the noisiest steps."""
    from dit_core.diffusion import ScheduleConfig
    from dit_core.models import attention
    from dit_core.training.recovery import recover

    schedule = context.model.config.schedule if context.model else ScheduleConfig()
    trajectory = attention.Trajectory(config.steps, schedule.train_steps) if config.steps < 1 else None

    def make(trained: Any, nth: int) -> "nn.Module":
        return attention.MediatedAttention(trained, config.mediators, config.assignment, trajectory)

    student = attention.swap_attention(model, config.layers, make)
    if trajectory:
        student.register_forward_pre_hook(trajectory, with_kwargs=True)
    return recover(student, model, config.recover, context, part="attn")
