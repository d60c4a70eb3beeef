"""Guidance distillation: classifier-free guidance in one pass."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from dit_core.errors import BadRequest
from dit_core.models.outline import Outline
from dit_core.techniques import Context, recover_knob, technique

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class GuidanceDistillation:
    """Fold guidance into the network, which takes its scale as an input (Meng et al., arXiv 2210.03142).

    Classifier-free guidance runs the network twice at every step, with and without the class. The student learns what
    comes out of both, for scales from 1 to 6, and so halves the work of every step. Without recovery training it knows
    nothing of guidance: its images are those of scale 1.
    """

    recover: str = recover_knob()


def unfit(config: GuidanceDistillation, network: Outline) -> str | None:
    """Guidance is learned once."""
    return "it has learned guidance already: name it once." if network.takes_guidance else None


def leaves(config: GuidanceDistillation, network: Outline) -> Outline:
    """A network that takes the guidance scale."""
    return replace(network, takes_guidance=True)


@technique(GuidanceDistillation, title="Guidance distillation", family="distillation", unfit=unfit, leaves=leaves)
def fold_guidance(model: "nn.Module", config: GuidanceDistillation, context: Context) -> "nn.Module":
    """A copy of the network with an embedding of the guidance scale that begins at zero."""
    from dit_core.models.dit import with_guidance_embedder
    from dit_core.sampling import takes_guidance
    from dit_core.training.recovery import recover

    if takes_guidance(model):
        raise BadRequest("guidance_distillation: the network has learned guidance already: name it once.")
    student = with_guidance_embedder(model, context.seed)
    return recover(student, model, config.recover, context)
