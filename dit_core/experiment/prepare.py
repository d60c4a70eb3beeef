"""The loaded models of a run, and the images that they draw.

`prepare` loads the baseline and applies the recipe. `Prepared` draws images of either side with the labels, the seeds
and the sampling of the spec.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from dit_core import quality
from dit_core.data.sheets import png, sheet, webp
from dit_core.errors import Cancelled
from dit_core.experiment import trajectories
from dit_core.experiment.checks import check, class_labels
from dit_core.listener import Listener
from dit_core.measure import Calls
from dit_core.models import sources
from dit_core.models.model import Decoded, Model, cast
from dit_core.models.sources import load_model
from dit_core.recipes.context import Context
from dit_core.recipes.recipe import Recipe
from dit_core.records.places import results_root
from dit_core.records.spec import RunSpec
from dit_core.sampling.config import SamplingConfig
from dit_core.sampling.loop import Step, generate, generate_and_check
from dit_core.system import devices, runtime
from dit_core.training.recovery import calibration_inputs

SHEET_IMAGES = 36
SHEET_COLUMNS = 6
PREVIEW_PIXELS, MOST_ENLARGED = 1536, 3  # width of a preview, and how often its pixels are repeated at most
MOST_DENOISED = 36  # images denoised together for sheets and quality
DENOISED_VALUES = 2**28  # of their widest activation, both branches of guidance: 1 GiB in float32
PREVIEW_EVERY_S = 0.5


@dataclass(frozen=True)
class Prepared:
    """Both sides of a run, loaded. `sampling` is that of the baseline, `candidate_sampling` that of the candidate."""

    spec: RunSpec
    baseline: Model
    candidate: Model
    sampling: SamplingConfig
    candidate_sampling: SamplingConfig
    load_s: float

    def sampling_of(self, model: Model) -> SamplingConfig:
        """Return how one of the two sides is sampled."""
        return self.candidate_sampling if model is self.candidate else self.sampling

    @property
    def batch(self) -> int:
        """Number of images that are denoised together for sheets, quality and sample files; bounded by memory."""
        return denoised_together(self.baseline)

    def decoded(
        self,
        model: Model,
        count: int,
        first: int = 0,
        on_step: Callable[[Step], None] | None = None,
        batch: int | None = None,
    ) -> Decoded:
        """Return the images `first` to `first + count` of the run, denoised `batch` at a time."""
        return generate_and_check(
            model,
            self.labels(count, first),
            seed=self.spec.seed,
            first=first,
            batch_size=batch or self.batch,
            sampling=self.sampling_of(model),
            on_step=on_step,
        )

    def labels(self, count: int, first: int = 0) -> list[int]:
        """Return the labels of the images `first` to `first + count`, which cycle through the classes of the spec."""
        labels = class_labels(self.spec, self.baseline.classes)
        return [labels[(first + i) % len(labels)] for i in range(count)]

    def generate_once(self, model: Model | None = None) -> None:
        """Generate one batch of images and decode it: the workload that is timed."""
        self.decoded(model or self.candidate, self.spec.batch_size, batch=self.spec.batch_size)

    def calls(self) -> Calls:
        """Return the timed workload of both sides."""
        candidate = (lambda: self.generate_once(self.candidate)) if self.spec.techniques else None
        return Calls(lambda: self.generate_once(self.baseline), candidate)


@dataclass(frozen=True)
class Workload:
    """The timed calls of a run, which any process can load. Only the spec is pickled."""

    spec: RunSpec

    def load(self) -> Calls:
        """Load both sides of the run."""
        return prepare(self.spec).calls()

    def load_candidate(self) -> Callable[[], None]:
        """Load only the candidate, so that the baseline does not stay in memory."""
        return prepare(self.spec, keep_baseline=False).generate_once


def prepare(spec: RunSpec, listener: Listener = Listener(), *, keep_baseline: bool = True) -> Prepared:  # noqa: B008
    """Load the model and apply the recipe. `load_s` is the time until the candidate can run.

    Without `keep_baseline` only the candidate stays in memory, and both sides are the candidate. Raises BadRequest if
    the spec cannot run on this machine.
    """
    check(spec)
    recipe, sampling = Recipe.of(spec), SamplingConfig.of(spec)
    device, dtype = runtime.set_up(spec.device), devices.set_precision(spec.precision)
    started = time.perf_counter()
    baseline = load_model(spec.model, device)
    context = Context(
        device,
        spec.seed,
        dtype=dtype,
        model=baseline,
        folder=results_root() / "local" / "training",
        progress=lambda stage, step, of: listener.progress(stage if stage.startswith("train") else "load", step, of),
        preview=lambda dit: listener.preview("candidate", _glimpse(baseline.with_dit(dit), spec)),
        cancelled=listener.cancelled,
        source=spec.model,
        images=spec.training_images,
    )
    if spec.training_images:
        context.draw_calibration = partial(calibration_inputs, context)
    candidate = baseline.with_dit(cast(recipe.apply(baseline.dit, context).to(device).eval(), dtype))
    cast(baseline.dit, dtype)  # after the recipe, which measures and trains in float32
    load_s = time.perf_counter() - started
    kept = baseline if keep_baseline else candidate
    return Prepared(spec, kept, candidate, sampling, recipe.sampling(sampling), load_s)


def denoised_together(model: Model) -> int:
    """Return how many images of a model are denoised together where nothing is timed; bounded by memory."""
    dit = model.config.dit
    values = 2 * dit.grid**2 * int(dit.mlp_ratio * dit.hidden_size)  # of an image
    return max(1, min(MOST_DENOISED, DENOISED_VALUES // values))


def sheet_images(spec: RunSpec) -> int:
    """Return the number of images of a sheet: one batch for random weights, whose images show nothing."""
    return min(SHEET_IMAGES, spec.batch_size) if sources.is_cost_only(spec.model) else SHEET_IMAGES


def preview_of(images: Tensor) -> bytes:
    """Return the PNG of a sheet of at most PREVIEW_PIXELS along a row.

    Small images are enlarged by repeating pixels, so that a browser does not smooth them; large ones are averaged.
    """
    if (shrink := math.ceil(SHEET_COLUMNS * images.shape[-1] / PREVIEW_PIXELS)) > 1:
        images = torch.nn.functional.avg_pool2d(images.float(), shrink).round().to(torch.uint8)
    enlarge = PREVIEW_PIXELS // (SHEET_COLUMNS * images.shape[-1])
    return png(sheet(images, SHEET_COLUMNS), enlarge=max(1, min(MOST_ENLARGED, enlarge)))


@dataclass(frozen=True)
class Drawn:
    """The images of one sheet, a WebP of the intermediate images of some of them (`trajectories`), and their time.

    `seconds` is the time of the sheet's own passes, without previews and intermediate images.
    """

    images: Decoded
    formed: bytes
    seconds: float


def draw(prepared: Prepared, model: Model, which: str, listener: Listener) -> Drawn:
    """Draw one sheet. Reports progress and previews to the listener; raises Cancelled if the listener has cancelled."""
    count, synchronize = sheet_images(prepared.spec), devices.synchronizer(prepared.spec.device)
    previewed, parts, rows, seconds = 0.0, [], [], 0.0
    after = trajectories.kept_steps(prepared.sampling_of(model).steps, model.image_size)

    def on_step(step: Step) -> None:
        nonlocal previewed, seconds
        synchronize()
        entered = time.perf_counter()
        stop_if(listener)
        listener.progress(which, len(parts) * step.of + step.index, batches * step.of)
        if kept and step.index in after:
            columns.append(model.decode(step.clean[kept]).cpu())
        if time.monotonic() - previewed >= PREVIEW_EVERY_S:
            done = [part.images for part in parts]
            listener.preview(which, preview_of(torch.cat([*done, model.decode(step.clean).cpu()])))
            previewed = time.monotonic()
        seconds -= time.perf_counter() - entered

    batches = math.ceil(count / prepared.batch)
    for first in range(0, count, prepared.batch):
        size, columns = min(prepared.batch, count - first), []
        kept = [place - first for place in trajectories.places(count) if first <= place < first + size]
        began = time.perf_counter()
        parts.append(prepared.decoded(model, size, first, on_step))
        synchronize()
        seconds += time.perf_counter() - began
        rows += [torch.stack(columns, dim=1)] if columns else []  # (kept, columns, 3, H, W)
    decoded = Decoded(*(torch.cat(column) for column in zip(*parts, strict=True)))
    listener.preview(which, preview_of(decoded.images))
    if decoded.broken:
        listener.note(f"{which}: {quality.non_finite(decoded.broken, count)}")
    formed = sheet(torch.cat(rows).flatten(0, 1), len(after))
    return Drawn(decoded, webp(formed, trajectories.description(after)), seconds)


def _glimpse(model: Model, spec: RunSpec) -> bytes:
    """Return a sheet of images of a network in training, from the seed of the run in few steps."""
    labels = [i % len(model.classes) for i in range(SHEET_IMAGES)]
    size, sampling = denoised_together(model), SamplingConfig("dpm++2m", 8)
    return preview_of(generate(model, labels, seed=spec.seed, batch_size=size, sampling=sampling))


def stop_if(listener: Listener) -> None:
    """Raise Cancelled if the listener has cancelled."""
    if listener.cancelled():
        raise Cancelled("The run was cancelled.")
