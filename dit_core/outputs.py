"""What a spec gives beside a record: images, how they form, its model as a folder or a file. Nothing is measured."""

import math
import shutil
import tempfile
from pathlib import Path
from typing import Any

from torch import Tensor

from dit_core import quality, techniques
from dit_core.errors import BadRequest
from dit_core.experiment import BATCH, Prepared, draw, prepare, stop_if
from dit_core.listener import Listener
from dit_core.models import catalog
from dit_core.models.model import save_model
from dit_core.sampling import Step
from dit_core.sheets import png, sheet
from dit_core.spec import RunSpec


def trajectory(spec: RunSpec, listener: Listener = Listener()) -> bytes:  # noqa: B008
    """Lossless WebP of how the candidate's images form, as `trajectories` keeps it."""
    prepared = prepare(spec, listener, keep_baseline=False)
    return draw(prepared, prepared.candidate, "candidate", listener)[1]


def sample_sheet(spec: RunSpec, count: int, columns: int, listener: Listener = Listener()) -> bytes:  # noqa: B008
    """PNG of `count` images of the candidate, `columns` in a row."""
    if columns < 1:
        raise BadRequest("columns must be at least 1.")
    return png(sheet(_samples(spec, count, listener)[1], columns))


def sample_file(spec: RunSpec, count: int, listener: Listener = Listener()) -> bytes:  # noqa: B008
    """`count` images of the candidate as guided-diffusion's evaluator reads them."""
    prepared, images = _samples(spec, count, listener)
    return quality.samples_bytes(images, prepared.labels(count))


def export(spec: RunSpec, folder: Path, listener: Listener = Listener()) -> int:  # noqa: B008
    """Write the candidate of a spec as a model folder and return its bytes; an existing one is refused."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BadRequest(f"{folder} is {'not empty' if folder.is_dir() else 'a file'}: name a new folder.")
    if catalog.is_random(spec.model):
        raise BadRequest(f"{spec.model} has no autoencoder: it can be timed, but not exported.")
    model = prepare(spec, listener, keep_baseline=False).candidate
    extra: dict[str, Any] = {"recipe": list(spec.techniques), "from": catalog.portable_name(spec.model)}
    if sampler := techniques.sampler_of(spec.techniques) or catalog.sampler(spec.model):
        extra["sampler"] = dict(zip(("scheduler", "steps"), sampler, strict=True))
    save_model(model, folder, extra)
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def export_archive(spec: RunSpec, path: Path, listener: Listener = Listener()) -> None:  # noqa: B008
    """Write the candidate of a spec as a model folder in a zip file, which is whole as soon as it has its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as work:
        folder = Path(work, "model", f"{spec.model.rpartition('/')[2]}-{spec.run_id}")
        listener.progress("load", 0, 1)
        export(spec, folder, listener)
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
        listener.progress("candidate", done, math.ceil(count / BATCH) * step.of)
        stop_if(listener)

    decoded = prepared.decoded(prepared.candidate, count, on_step=on_step)
    if decoded.broken:
        listener.note(quality.not_finite(decoded.broken, count))
    return prepared, decoded.images
