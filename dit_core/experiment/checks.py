"""Checks of a spec before any weights are loaded. Imports no torch, so the form can show the same messages as a run."""

from collections.abc import Sequence

from dit_core.data.training_images import training_images
from dit_core.errors import BadRequest
from dit_core.experiment import own_metrics
from dit_core.models import recovered, sources
from dit_core.models.formats import FOLDER, FORMS
from dit_core.models.presets import HIGHEST_GUIDANCE, LOWEST_GUIDANCE
from dit_core.models.sources import ModelSource
from dit_core.models.structure import Structure
from dit_core.quality.judgement import check_reference
from dit_core.recipes.recipe import Recipe
from dit_core.records.spec import RunSpec
from dit_core.sampling.config import SamplingConfig


def check(spec: RunSpec) -> None:
    """Raise BadRequest with one line that says what to change if a spec cannot run on this machine."""
    source = sources.find(spec.model)
    if source.cost_only and spec.samples:
        raise BadRequest(f"{spec.model} is for measuring cost, and its images cannot be judged: set samples to 0.")
    source.check()
    if source.size is not None and source.null_label is None and spec.guidance != 1:
        raise BadRequest(f"{spec.model} has no null label, so it cannot be guided: set guidance to 1.")
    check_reference(source, spec.reference, spec.samples)
    own_metrics.check(spec)
    recipe = Recipe.of(spec)
    recipe.check_precision(spec.precision)
    changed = recipe.check(source.structure, spec.device)
    sampling = recipe.sampling(SamplingConfig.of(spec))
    if spec.training_images:
        if source.autoencoder is None:
            raise BadRequest(
                f"{spec.model} has no autoencoder, so it learns from no images: leave out training_images."
            )
        training_images(spec.training_images, source.class_names, latent_shape(source))
    recovered.check(spec.model, recipe.to_dicts(), spec.training_images)
    for name, instead in recipe.needs_images.items():
        recovered.check_images(spec.model, name, instead, spec.training_images)
    if changed and changed.takes_guidance:
        if sampling.guidance_every > 1:
            raise BadRequest("Distilled guidance is one pass: leave guidance_caching out, or set guidance_every to 1.")
        _check_learned_guidance(spec)
    if spec.classes and source.class_names is not None:
        class_labels(spec, source.class_names)


def export_forms(spec: RunSpec) -> tuple[str, ...]:
    """Return the formats in which the network of a run can be exported: all of them only for an unchanged DiT."""
    recipe = Recipe.of(spec)
    network = recipe.check(sources.find(spec.model).structure, spec.device)
    if network is None or recipe.terminal or network != Structure.of(network.size):
        return (FOLDER,)
    size = network.size
    impossible = {
        "diffusers": bool(size.velocity) or int(size.hidden_size * size.mlp_ratio) != 4 * size.hidden_size,
        "pt": size.block_embedders,
        "safetensors": size.block_embedders,
    }
    return tuple(form for form in FORMS if not impossible.get(form))


def training_digest(spec: RunSpec) -> str:
    """Return the hash of the own training images of a spec. Raises BadRequest if they do not fit the model."""
    source = sources.find(spec.model)
    return training_images(spec.training_images, source.class_names, latent_shape(source)).digest


def latent_shape(source: ModelSource) -> tuple[int, int, int] | None:
    """Return the shape (C, h, w) of a model's latents; None if the weights must be loaded first."""
    size = source.size
    return (size.in_channels, size.input_size, size.input_size) if size else None


def class_labels(spec: RunSpec, classes: Sequence[str]) -> list[int]:
    """Return the labels of the classes of a spec; all labels if it names none.

    Raises BadRequest if the model has no class of a name.
    """
    if unknown := [name for name in spec.classes if name not in classes]:
        raise BadRequest(f"{spec.model} has no class {unknown[0]!r}: use some of {', '.join(classes)}.")
    return [list(classes).index(name) for name in spec.classes] or list(range(len(classes)))


def _check_learned_guidance(spec: RunSpec) -> None:
    if spec.guidance_channels:
        raise BadRequest("Distilled guidance acts on all channels: set guidance_channels to 0.")
    if not LOWEST_GUIDANCE <= spec.guidance <= HIGHEST_GUIDANCE:
        raise BadRequest(
            f"Distilled guidance is trained for scales from {LOWEST_GUIDANCE:g} to {HIGHEST_GUIDANCE:g}: set guidance "
            f"in this range, not to {spec.guidance:g}."
        )
