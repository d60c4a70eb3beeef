"""Another solver, or fewer steps of it: what costs no training and no weights."""

import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dit_core.spec import SCHEDULERS
from dit_core.techniques import Context, technique

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Solver:
    """Denoise with another solver or in fewer steps (DPM-Solver++, arXiv 2211.01095; UniPC, arXiv 2302.04867).

    The network stays as it is and runs less often, so time falls with the steps while bytes stay. What a solver of
    higher order cannot make up for is lost in sharpness: this is the first thing to try, and what every other technique
    has to beat.
    """

    scheduler: str = field(default="dpm++2m", metadata={"help": "How a step is taken.", "choices": SCHEDULERS})
    steps: int = field(default=8, metadata={"help": "Times that the network runs for an image.", "min": 1, "max": 1000})


def sampler(config: Solver) -> tuple[str, int]:
    """The knobs themselves."""
    return config.scheduler, config.steps


@technique(Solver, title="Solver and steps", family="sampling", sampler=sampler)
def keep_network(model: "nn.Module", config: Solver, context: Context) -> "nn.Module":
    """A network that shares all its weights with the one that was given."""
    return copy.copy(model)
