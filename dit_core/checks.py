"""What is refused before anything is loaded. Imports no torch: the form shows the same lines as a run."""

from collections.abc import Sequence

from dit_core import techniques
from dit_core.errors import BadRequest
from dit_core.models import catalog, recovered
from dit_core.models.presets import HIGHEST_GUIDANCE, LOWEST_GUIDANCE
from dit_core.spec import RunSpec


def check(spec: RunSpec) -> None:
    """Raise BadRequest, in one line that says what to change, where a spec cannot run here."""
    network = catalog.outline(spec.model)
    if catalog.is_random(spec.model) and spec.samples:
        raise BadRequest(f"{spec.model} has random weights, so its images cannot be judged: set samples to 0.")
    left = techniques.check_available(spec.techniques, spec.device, network)
    techniques.sampler_of(spec.techniques)
    recovered.check(spec.model, techniques.canonical(spec.techniques))
    for name, instead in techniques.learners(spec.techniques).items():
        recovered.check_images(spec.model, name, instead)
    if left and left.takes_guidance:
        _check_learned_guidance(spec)
    if spec.classes and (catalog.is_random(spec.model) or spec.model in catalog.bundled()):
        class_labels(spec, catalog.classes(spec.model))


def class_labels(spec: RunSpec, classes: Sequence[str]) -> list[int]:
    """Labels of the classes that take turns; raises BadRequest on a name that the model does not know."""
    if unknown := [name for name in spec.classes if name not in classes]:
        raise BadRequest(f"{spec.model} has no class {unknown[0]!r}: use some of {', '.join(classes)}.")
    return [list(classes).index(name) for name in spec.classes] or list(range(len(classes)))


def _check_learned_guidance(spec: RunSpec) -> None:
    if spec.guidance_channels:
        raise BadRequest("Distilled guidance acts on all channels: set guidance_channels to 0.")
    if not LOWEST_GUIDANCE <= spec.guidance <= HIGHEST_GUIDANCE:
        learned = f"scales from {LOWEST_GUIDANCE:g} to {HIGHEST_GUIDANCE:g}"
        raise BadRequest(f"Distilled guidance knows {learned}: set guidance to one of them, not {spec.guidance:g}.")
