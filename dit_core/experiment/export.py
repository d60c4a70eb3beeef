"""Outputs of a spec other than its record: images, their denoising steps, and the optimized model. Measures nothing."""

import math
import shutil
import tempfile
from pathlib import Path
from typing import Any

from torch import Tensor

from dit_core import quality
from dit_core.data.sheets import png, sheet
from dit_core.errors import BadRequest
from dit_core.experiment.checks import export_forms
from dit_core.experiment.model_card import model_card
from dit_core.experiment.prepare import Prepared, draw, prepare, stop_if
from dit_core.listener import Listener
from dit_core.models import sources
from dit_core.models.formats import FOLDER, FORMS
from dit_core.models.formats.export import WRITERS
from dit_core.models.sources.folder import save_model, write_autoencoder
from dit_core.recipes.recipe import Recipe
from dit_core.records.spec import RunSpec
from dit_core.sampling.config import SamplingConfig
from dit_core.sampling.loop import Step
from dit_core.system.files import write_text

CARD_FILE = "README.md"


def trajectory(spec: RunSpec, listener: Listener = Listener()) -> bytes:  # noqa: B008
    """Return the denoising steps of the candidate's images as lossless WebP, in the layout of `trajectories`."""
    prepared = prepare(spec, listener, keep_baseline=False)
    return draw(prepared, prepared.candidate, "candidate", listener)[1]


def pictures(spec: RunSpec, listener: Listener = Listener()) -> None:  # noqa: B008
    """Draw the sheets of both sides, which the listener receives as previews, and measure nothing."""
    prepared = prepare(spec, listener)
    listener.progress("load", 1, 1)
    draw(prepared, prepared.baseline, "baseline", listener)
    if spec.techniques:
        draw(prepared, prepared.candidate, "candidate", listener)


def sample_sheet(spec: RunSpec, count: int, columns: int, listener: Listener = Listener()) -> bytes:  # noqa: B008
    """Return a PNG of `count` images of the candidate, `columns` in a row."""
    if columns < 1:
        raise BadRequest("columns must be at least 1.")
    return png(sheet(_samples(spec, count, listener)[1], columns))


def sample_file(spec: RunSpec, count: int, listener: Listener = Listener()) -> bytes:  # noqa: B008
    """Return `count` images of the candidate in the npz format of guided-diffusion's evaluator."""
    prepared, images = _samples(spec, count, listener)
    return quality.samples_bytes(images, prepared.labels(count))


def export(
    spec: RunSpec,
    folder: Path,
    listener: Listener = Listener(),  # noqa: B008
    form: str = FOLDER,
) -> int:
    """Write the candidate of a spec into a folder, with a model card, and return its size in bytes.

    `form` is one of `formats.FORMS`; see `checks.export_forms`.
    Raises BadRequest if the folder is not empty, or if the model cannot be exported.
    """
    if form not in FORMS:
        raise BadRequest(f"Unknown format {form!r}: use one of {', '.join(FORMS)}.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BadRequest(f"{folder} is {'not empty' if folder.is_dir() else 'a file'}: name a new folder.")
    source = sources.find(spec.model)
    if source.export_problem:
        raise BadRequest(f"{spec.model} cannot be exported: {source.export_problem}.")
    recipe = Recipe.of(spec)
    if form not in (possible := export_forms(spec)):
        raise BadRequest(f"This network cannot be written as {form}: set format to {' or '.join(possible)}.")
    model = prepare(spec, listener, keep_baseline=False).candidate
    extra: dict[str, Any] = {"recipe": list(spec.techniques), "from": source.origin}
    sampling = recipe.sampling(SamplingConfig.of(spec))
    own = (sampling.scheduler, sampling.steps) if recipe.sets_sampling else source.sampler
    if own:
        extra["sampler"] = dict(zip(("scheduler", "steps"), own, strict=True))
    if sampling.guidance_interval or sampling.guidance_every > 1:
        extra["guidance"] = {"interval": sampling.guidance_interval, "every": sampling.guidance_every}
    if form == FOLDER:
        save_model(model, folder, extra)
    else:
        folder.mkdir(parents=True, exist_ok=True)
        WRITERS[form](model, folder, source.origin)
        if form != "diffusers":
            write_autoencoder(model, folder)
    write_text(model_card(spec, model, sampling, form), folder / CARD_FILE)
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def export_archive(
    spec: RunSpec,
    path: Path,
    listener: Listener = Listener(),  # noqa: B008
    form: str = FOLDER,
) -> None:
    """Write the candidate of a spec, in a format, into a zip file. The file gets its name when it is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as work:
        folder = Path(work, "model", f"{sources.find(spec.model).portable_name.replace('/', '-')}-{spec.run_id}")
        listener.progress("load", 0, 1)
        export(spec, folder, listener, form)
        listener.progress("load", 1, 1)
        Path(shutil.make_archive(str(Path(work, "whole")), "zip", folder.parent)).replace(path)


def _samples(spec: RunSpec, count: int, listener: Listener) -> tuple[Prepared, Tensor]:
    if count < 1:
        raise BadRequest("count must be at least 1.")
    prepared = prepare(spec, listener)
    done = 0

    def on_step(step: Step) -> None:
        nonlocal done
        done += 1
        listener.progress("candidate", done, math.ceil(count / prepared.batch) * step.of)
        stop_if(listener)

    decoded = prepared.decoded(prepared.candidate, count, on_step=on_step)
    if decoded.broken:
        listener.note(quality.non_finite(decoded.broken, count))
    return prepared, decoded.images
