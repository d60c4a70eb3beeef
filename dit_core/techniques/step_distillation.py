"""Step distillation: images in a few steps."""

import copy
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from dit_core.models.outline import Outline
from dit_core.techniques import Context, recover_knob, technique

if TYPE_CHECKING:
    from torch import nn

LESSONS = 2  # halvings: the first teacher takes four times the student's steps


@dataclass(frozen=True)
class StepDistillation:
    """Learn to denoise in few steps (Salimans and Ho, arXiv 2202.00512; Meng et al., arXiv 2210.03142).

    The student learns to reach in one step what its teacher reaches in two, and then becomes the teacher. Guidance is
    folded in, so each of the few steps is one pass. It samples as it was taught, by DDIM in as many steps as the knob
    says, whatever the baseline beside it does. Without recovery training nothing is gained.
    """

    steps: int = field(default=4, metadata={"help": "Steps of the student.", "choices": (1, 2, 4, 8)})
    recover: str = recover_knob()


def sampler(config: StepDistillation) -> tuple[str, int]:
    """The only way of sampling that the student knows."""
    return "ddim", config.steps


def leaves(config: StepDistillation, network: Outline) -> Outline:
    """A network that takes the guidance scale."""
    return replace(network, takes_guidance=True)


@technique(StepDistillation, title="Step distillation", family="distillation", leaves=leaves, sampler=sampler)
def distill_steps(model: "nn.Module", config: StepDistillation, context: Context) -> "nn.Module":
    """A copy of the network that takes the guidance scale and has been taught to take long steps."""
    from dit_core.models.dit import with_guidance_embedder
    from dit_core.sampling import takes_guidance
    from dit_core.training.recovery import recover
    from dit_core.training.steps import HalvedSteps

    student = copy.deepcopy(model) if takes_guidance(model) else with_guidance_embedder(model, context.seed)
    counts = [config.steps * 2**left for left in reversed(range(LESSONS))]
    lessons = [partial(HalvedSteps, steps=count) for count in counts]
    return recover(student, model, config.recover, context, lessons)
