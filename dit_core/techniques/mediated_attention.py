"""Mediated attention: tokens attend through a few pooled queries."""

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dit_core.models.structure import Structure, attention_conflict
from dit_core.recipes.context import Context
from dit_core.recipes.knobs import layers_knob, recover_knob
from dit_core.recipes.registry import technique

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class MediatedAttention:
    """Let tokens attend through a few mediators (arXiv 2408.05710; Agent Attention, arXiv 2312.08874).

    Mediators are queries averaged over cells of the token grid. They attend to all tokens, and all tokens attend to
    them, so cost grows with tokens times mediators instead of tokens squared. It helps for large images. Early steps,
    which decide the coarse layout, tolerate it best.
    """

    mediators: int = field(
        default=4,
        metadata={
            "help": "Number of mediators: a square number whose root divides the side of the token grid.",
            "min": 1,
            "max": 4096,
        },
    )
    steps: float = field(
        default=1.0,
        metadata={
            "help": "Share of the denoising steps, from the noisiest on, with mediated attention; the rest attends "
            "fully.",
            "min": 0.0,
            "max": 1.0,
            "step": 0.05,
        },
    )
    assignment: str = field(
        default="softmax",
        metadata={
            "help": "How tokens read from mediators. softmax: each token attends to all mediators, as in the paper. "
            "nearest: each token takes the result of its own cell, which is exact with as many mediators as tokens.",
            "choices": ("softmax", "nearest"),
        },
    )
    layers: str = layers_knob()
    recover: str = recover_knob()


def incompatible(config: MediatedAttention, network: Structure) -> str | None:
    """Return an error message if the mediators do not form a square that divides the token grid."""
    side, grid = math.isqrt(config.mediators), network.size.grid
    if side**2 == config.mediators and grid % side == 0:
        return attention_conflict(network, config.layers)
    fitting = [str(n**2) for n in range(1, grid + 1) if grid % n == 0]
    return f"mediators {config.mediators} does not fit {grid} x {grid} tokens: use {', '.join(fitting)}."


def output_structure(config: MediatedAttention, network: Structure) -> Structure:
    """Return the structure with another attention class in the selected blocks."""
    return network.changed(config.layers, attention="MediatedAttention")


@technique(
    MediatedAttention,
    title="Mediated attention",
    family="attention",
    incompatible=incompatible,
    output_structure=output_structure,
)
def mediate(model: "nn.Module", config: MediatedAttention, context: Context) -> "nn.Module":
    """Return a copy of the network whose selected blocks attend through mediators in the noisiest steps."""
    from dit_core.models import attention
    from dit_core.models.schedule import ScheduleConfig
    from dit_core.training.recovery import recover

    schedule = context.model.config.schedule if context.model else ScheduleConfig()
    trajectory = attention.Trajectory(config.steps, schedule.train_steps) if config.steps < 1 else None

    def make(trained: Any, nth: int) -> "nn.Module":
        return attention.MediatedAttention(trained, config.mediators, config.assignment, trajectory)

    student = attention.swap_attention(model, config.layers, make)
    if trajectory:
        student.register_forward_pre_hook(trajectory, with_kwargs=True)
    return recover(student, model, config.recover, context, part="attn")
