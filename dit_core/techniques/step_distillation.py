"""Step distillation: train the network to sample in a few steps."""

import copy
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from dit_core.models.structure import Structure
from dit_core.recipes.context import Context
from dit_core.recipes.knobs import recover_knob
from dit_core.recipes.registry import technique
from dit_core.sampling.config import SamplingConfig

if TYPE_CHECKING:
    from torch import nn

LESSONS = 2  # halvings of the number of steps: the first teacher takes four times the steps of the student


@dataclass(frozen=True)
class StepDistillation:
    """Train the network to sample in a few steps (Salimans and Ho, arXiv 2202.00512; Meng et al., arXiv 2210.03142).

    The student learns to reach in one step what its teacher reaches in two, and then becomes the next teacher. Guidance
    is distilled too, so every step is one pass. The student samples with DDIM in the number of steps that it was
    trained for; the baseline keeps the scheduler and steps of the run. Without recovery training images get worse.
    """

    steps: int = field(default=4, metadata={"help": "Number of steps of the student.", "choices": (1, 2, 4, 8)})
    recover: str = recover_knob()


def sampling(config: StepDistillation, base: SamplingConfig) -> SamplingConfig:
    """Sample with DDIM in the steps that the student was trained for."""
    return replace(base, scheduler="ddim", steps=config.steps)


def output_structure(config: StepDistillation, network: Structure) -> Structure:
    """Return the structure with the guidance scale as an input."""
    return replace(network, takes_guidance=True)


@technique(
    StepDistillation,
    title="Step distillation",
    family="distillation",
    output_structure=output_structure,
    sampling=sampling,
)
def distill_steps(model: "nn.Module", config: StepDistillation, context: Context) -> "nn.Module":
    """Return a copy of the network that takes the guidance scale and is trained for long steps."""
    from dit_core.models.dit import with_guidance_embedder
    from dit_core.sampling.guidance import takes_guidance
    from dit_core.training.halved_steps import HalvedSteps
    from dit_core.training.recovery import recover

    student = copy.deepcopy(model) if takes_guidance(model) else with_guidance_embedder(model, context.seed)
    counts = [config.steps * 2**left for left in reversed(range(LESSONS))]
    lessons = [partial(HalvedSteps, steps=count) for count in counts]
    return recover(student, model, config.recover, context, lessons)
