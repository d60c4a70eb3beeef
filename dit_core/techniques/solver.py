"""Another solver or fewer steps, without training and without a change of the weights."""

import copy
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from dit_core.recipes.context import Context
from dit_core.recipes.registry import technique
from dit_core.records.spec import SCHEDULERS
from dit_core.sampling.config import SamplingConfig

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Solver:
    """Denoise with another solver or in fewer steps (DPM-Solver++, arXiv 2211.01095; UniPC, arXiv 2302.04867).

    The network is unchanged and runs less often, so time falls with the number of steps and memory does not change.
    With too few steps images lose sharpness. Try this first: other techniques should do better than fewer steps.
    """

    scheduler: str = field(
        default="dpm++2m", metadata={"help": "Solver of the denoising steps.", "choices": SCHEDULERS}
    )
    steps: int = field(default=8, metadata={"help": "Number of denoising steps.", "min": 1, "max": 1000})


def sampling(config: Solver, base: SamplingConfig) -> SamplingConfig:
    """Replace the scheduler and the number of steps."""
    return replace(base, scheduler=config.scheduler, steps=config.steps)


@technique(Solver, title="Solver and steps", family="sampling", sampling=sampling)
def keep_network(model: "nn.Module", config: Solver, context: Context) -> "nn.Module":
    """Return a network that shares all weights with `model`."""
    return copy.copy(model)
