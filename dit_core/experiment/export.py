"""Outputs of a spec other than its record: images, their denoising steps, and the optimized model. Measures nothing."""

import math
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import torch
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
from dit_core.system import causes, files

CARD_FILE = "README.md"
MOST_SHEET_BYTES = 2**30
MOVE = "name another folder"


def trajectory(spec: RunSpec, listener: Listener = Listener()) -> bytes:  # noqa: B008
    """Return the denoising steps of the candidate's images as lossless WebP, in the layout of `trajectories`."""
    prepared = prepare(spec, listener, keep_baseline=False)
    return draw(prepared, prepared.candidate, "candidate", listener).formed


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
    prepared, batches = _samples(spec, count, listener)
    if (sheet_bytes := count * 3 * prepared.baseline.image_size**2) > MOST_SHEET_BYTES:
        raise BadRequest(f"A sheet of {count:,} images has {causes.size(sheet_bytes)}: write them with --npz instead.")
    return png(sheet(torch.cat(list(batches)), columns))


def sample_file(
    spec: RunSpec,
    count: int,
    listener: Listener = Listener(),  # noqa: B008
) -> tuple[int, Callable[[IO[bytes]], None]]:
    """Return the size in bytes of a file of `count` images of the candidate, and a function that writes the file.

    The format is that of guided-diffusion's evaluator. Images are drawn while they are written, a batch at a time.
    """
    prepared, batches = _samples(spec, count, listener)
    side = prepared.baseline.image_size

    def write(stream: IO[bytes]) -> None:
        quality.write_samples(stream, batches, prepared.labels(count), side)

    return count * (3 * side**2 + 8), write


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
    try:
        place = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
        files.probe(place)
    except OSError as error:
        raise BadRequest(causes.not_written(folder, error, MOVE)) from error
    model = prepare(spec, listener, keep_baseline=False).candidate
    extra: dict[str, Any] = {"recipe": list(spec.techniques), "from": source.origin}
    sampling = recipe.sampling(SamplingConfig.of(spec))
    own = (sampling.scheduler, sampling.steps) if recipe.sets_sampling else source.sampler
    if own:
        extra["sampler"] = dict(zip(("scheduler", "steps"), own, strict=True))
    if sampling.guidance_interval or sampling.guidance_every > 1:
        extra["guidance"] = {"interval": sampling.guidance_interval, "every": sampling.guidance_every}
    try:
        with files.new_folder(folder) as work:
            if form == FOLDER:
                save_model(model, work, extra)
            else:
                WRITERS[form](model, work, source.origin)
                if form != "diffusers":
                    write_autoencoder(model, work)
            files.write_text(model_card(spec, model, sampling, form), work / CARD_FILE)
    except BadRequest:
        raise
    except Exception as error:
        if cause := causes.system_error(error):
            raise BadRequest(causes.not_written(folder, cause, MOVE)) from error
        raise
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


def _samples(spec: RunSpec, count: int, listener: Listener) -> tuple[Prepared, Iterator[Tensor]]:
    """Return the loaded run, and its images (n, 3, H, W) batch by batch, drawn when they are asked for."""
    if count < 1:
        raise BadRequest("count must be at least 1.")
    prepared = prepare(spec, listener)
    done = 0

    def on_step(step: Step) -> None:
        nonlocal done
        done += 1
        listener.progress("candidate", done, math.ceil(count / prepared.batch) * step.of)
        stop_if(listener)

    def batches() -> Iterator[Tensor]:
        broken = 0
        for first in range(0, count, prepared.batch):
            size = min(prepared.batch, count - first)
            decoded = prepared.decoded(prepared.candidate, size, first, on_step)
            broken += decoded.broken
            yield decoded.images
        if broken:
            listener.note(quality.non_finite(broken, count))

    return prepared, batches()
