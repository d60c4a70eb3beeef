"""Guidance distillation: classifier-free guidance in one pass per step."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from dit_core.errors import BadRequest
from dit_core.models.structure import Structure
from dit_core.recipes.context import Context
from dit_core.recipes.knobs import recover_knob
from dit_core.recipes.registry import technique

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class GuidanceDistillation:
    """Train the network to produce guided outputs in one pass (Meng et al., arXiv 2210.03142).

    Classifier-free guidance runs the network twice per step, with and without the class. The student takes the guidance
    scale as an input and learns the combined output for scales from 1 to 6, which halves the work per step. Without
    recovery training it ignores the scale: its images are those of scale 1.
    """

    recover: str = recover_knob()


def incompatible(config: GuidanceDistillation, network: Structure) -> str | None:
    """Return an error message if the network takes the guidance scale already."""
    return "it takes the guidance scale already: distill guidance once." if network.takes_guidance else None


def output_structure(config: GuidanceDistillation, network: Structure) -> Structure:
    """Return the structure with the guidance scale as an input."""
    return replace(network, takes_guidance=True)


@technique(
    GuidanceDistillation,
    title="Guidance distillation",
    family="distillation",
    incompatible=incompatible,
    output_structure=output_structure,
)
def fold_guidance(model: "nn.Module", config: GuidanceDistillation, context: Context) -> "nn.Module":
    """Return a copy of the network with an embedding of the guidance scale, initialized to zero."""
    from dit_core.models.dit import with_guidance_embedder
    from dit_core.sampling.guidance import takes_guidance
    from dit_core.training.recovery import recover

    if takes_guidance(model):
        raise BadRequest("guidance_distillation: the network takes the guidance scale already: distill guidance once.")
    student = with_guidance_embedder(model, context.seed)
    return recover(student, model, config.recover, context)
