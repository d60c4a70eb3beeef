"""One run: a spec in, a record out.

Stages, in the order in which a listener hears of them: load, train (where a technique recovers now), baseline,
candidate, speed, memory, compute, quality.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import torch
from torch import Tensor

from dit_core import measure, quality, runtime, techniques, trajectories
from dit_core.checks import check, class_labels
from dit_core.errors import Cancelled
from dit_core.listener import Listener
from dit_core.models import catalog, recovered
from dit_core.models.model import Decoded, Model, load_model
from dit_core.sampling import Sampling, Step, generate, generate_and_check
from dit_core.sheets import png, sheet, webp
from dit_core.spec import RunRecord, RunSpec
from dit_core.store import RecordExists, Store, is_current, results_root

SHEET_IMAGES = 36
SHEET_COLUMNS = 6
BATCH = 36  # images denoised together for sheets and quality
PREVIEW_EVERY_S = 0.5


@dataclass(frozen=True)
class Prepared:
    """Both sides of a run, loaded; `candidate` is `baseline` where the recipe is empty."""

    spec: RunSpec
    baseline: Model
    candidate: Model
    load_s: float

    def images(self, model: Model, count: int, first: int = 0, on_step: Callable[[Step], None] | None = None) -> Tensor:
        """Images `first` to `first + count` of the run: (count, 3, H, W) uint8. Classes take turns."""
        return self.decoded(model, count, first, on_step).images

    def decoded(
        self, model: Model, count: int, first: int = 0, on_step: Callable[[Step], None] | None = None
    ) -> Decoded:
        """The same, and which images are finite."""
        labels, sampling = self.labels(count, first), sampling_of(self.spec, model is self.candidate)
        return generate_and_check(
            model, labels, seed=self.spec.seed, first=first, batch_size=BATCH, sampling=sampling, on_step=on_step
        )

    def labels(self, count: int, first: int = 0) -> list[int]:
        """Classes of the images `first` to `first + count`: those of the spec take turns."""
        chosen = class_labels(self.spec, self.baseline.classes)
        return [chosen[(first + i) % len(chosen)] for i in range(count)]

    def generate_once(self, model: Model | None = None) -> None:
        """The timed workload: one batch of images, decoded."""
        self.images(model or self.candidate, self.spec.batch_size)


def prepare(spec: RunSpec, listener: Listener = Listener(), *, keep_baseline: bool = True) -> Prepared:  # noqa: B008
    """Load the model and apply the recipe. `load_s` is the time until the candidate can run."""
    check(spec)
    device = runtime.set_up(spec.device)
    started = time.perf_counter()
    baseline = load_model(spec.model, device)
    context = techniques.Context(
        device,
        spec.seed,
        model=baseline,
        folder=results_root() / "local" / "training",
        progress=lambda stage, step, of: listener.progress(stage if stage.startswith("train") else "load", step, of),
        preview=lambda dit: listener.preview("candidate", _glimpse(baseline.with_dit(dit), spec)),
        cancelled=listener.cancelled,
    )
    candidate = baseline.with_dit(techniques.apply_recipe(baseline.dit, spec.techniques, context).to(device).eval())
    load_s = time.perf_counter() - started
    return Prepared(spec, baseline if keep_baseline else candidate, candidate, load_s)


def run(
    spec: RunSpec,
    *,
    store: Store | None = None,
    listener: Listener = Listener(),  # noqa: B008
    again: bool = False,
    local: bool = True,
) -> RunRecord:
    """Measure a run and put its record into the store. A run that is known comes back at once, unless `again`.

    One that was measured with other weights of the model is not known.

    Raises BadRequest where it cannot run here, Cancelled where the listener says so.
    """
    check(spec)
    if store and not again and (stored := store.get(spec.run_id)) and is_current(stored.record):
        return stored.record
    weights = recovered.weights_digest(spec.model, techniques.canonical(spec.techniques))
    environment = {**measure.environment(spec.device), "weights": weights}
    listener.progress("load", 0, 1)
    if recovered.trains(spec.techniques) or techniques.learners(spec.techniques):
        prepare(spec, listener, keep_baseline=False)  # what is loaded below is what this has trained
    prepared = prepare(spec, listener)
    listener.progress("load", 1, 1)
    baseline_run = not spec.techniques
    first_call_s = _timed(prepared.generate_once)
    before, formed = draw(prepared, prepared.baseline, "baseline", listener)
    after, formed = (before, formed) if baseline_run else draw(prepared, prepared.candidate, "candidate", listener)
    if baseline_run:
        listener.preview("candidate", preview_of(after.images))

    latency, speedup = measure.speed(
        lambda: prepared.generate_once(prepared.baseline),
        None if baseline_run else lambda: prepared.generate_once(prepared.candidate),
        spec,
        listener,
    )
    with _stage(listener, "memory"):
        memory = measure.memory(spec, prepared.candidate.dit, prepared.baseline.dit, lambda: stop_if(listener))
    with _stage(listener, "compute"):
        flops = measure.flops(prepared.generate_once, lambda: prepared.generate_once(prepared.baseline))
        measure.add_routing(flops, prepared.generate_once, prepared.candidate.dit)
        beside = None if baseline_run else lambda: prepared.generate_once(prepared.baseline)
        energy = measure.energy(prepared.generate_once, spec.device, baseline=beside)
        measure.why(
            {"latency": latency, "memory": memory, "flops": flops, "speedup": speedup},
            environment,
            (prepared.generate_once, prepared.candidate),
            (lambda: prepared.generate_once(prepared.baseline), prepared.baseline),
        )
    judged = _judge(prepared, after, listener)
    count = len(after.images)

    sheets = {
        "candidate": webp(sheet(after.images, SHEET_COLUMNS)),
        "baseline": webp(sheet(before.images, SHEET_COLUMNS)),
    }
    record = RunRecord(
        run_id=spec.run_id,
        status="done",
        spec=spec.to_dict(),
        environment=environment,
        latency={**latency, "load_s": prepared.load_s, "first_call_s": first_call_s, "batch_size": spec.batch_size},
        memory=memory,
        flops=flops,
        energy=energy,
        quality=judged,
        fidelity=_fidelity(None if baseline_run else before, after),
        speedup=speedup,
        samples={
            "sheet": None,
            "baseline_sheet": None,
            "tile": after.images.shape[-1],
            "columns": SHEET_COLUMNS,
            "labels": [prepared.baseline.classes[label] for label in prepared.labels(count)],
            "seeds": [spec.seed] * count,
            "indices": list(range(count)),
            "reason": "not stored",
        },
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    if store is None:
        return record
    with suppress(RecordExists):  # measured twice at the same time: the first one in stands
        stale = (stored := store.get(spec.run_id)) is not None and not is_current(stored.record)
        store.put(record, sheets, local=local, again=again or stale)
    stored = store.get(spec.run_id)
    if stored and trajectories.wanted(stored.record):
        with suppress(OSError):  # a full disk costs this picture, not the run
            trajectories.write(stored, formed)
    return stored.record if stored else record


def sheet_images(spec: RunSpec) -> int:
    """Images of a sheet. Those of random weights show nothing and can cost minutes: one batch will do."""
    return min(SHEET_IMAGES, spec.batch_size) if catalog.is_random(spec.model) else SHEET_IMAGES


def sampling_of(spec: RunSpec, candidate: bool = True) -> Sampling:
    """How a side is sampled: as the spec says, or for the candidate in the way that its recipe brings."""
    own = techniques.sampler_of(spec.techniques) if candidate else None
    return Sampling(*(own or (spec.scheduler, spec.steps)), spec.guidance, spec.guidance_channels)


def preview_of(images: Tensor) -> bytes:
    """PNG of a sheet, enlarged by repeating pixels so that a browser has nothing to smooth."""
    return png(sheet(images, SHEET_COLUMNS), enlarge=3)


def draw(prepared: Prepared, model: Model, which: str, listener: Listener) -> tuple[Decoded, bytes]:
    """The images of one sheet, previewed while they form, and how some of them formed (`trajectories`)."""
    count = sheet_images(prepared.spec)
    shown, rows, columns = 0.0, list(trajectories.places(count)), []
    after = trajectories.kept_steps(sampling_of(prepared.spec, model is prepared.candidate).steps, model.image_size)

    def on_step(step: Step) -> None:
        nonlocal shown
        stop_if(listener)
        listener.progress(which, step.index, step.of)
        if step.index in after:
            columns.append(model.decode(step.clean[rows]).cpu())
        if time.monotonic() - shown >= PREVIEW_EVERY_S:
            listener.preview(which, preview_of(model.decode(step.clean).cpu()))
            shown = time.monotonic()

    decoded = prepared.decoded(model, count, on_step=on_step)
    listener.preview(which, preview_of(decoded.images))
    if decoded.broken:
        listener.note(f"{which}: {quality.not_finite(decoded.broken, count)}")
    formed = sheet(torch.stack(columns, dim=1).flatten(0, 1), len(columns))
    return decoded, webp(formed, trajectories.description(after))


def _glimpse(model: Model, spec: RunSpec) -> bytes:
    """What a network in training can do so far, from the run's own seed in few steps."""
    labels = [i % len(model.classes) for i in range(SHEET_IMAGES)]
    return preview_of(generate(model, labels, seed=spec.seed, batch_size=BATCH, sampling=Sampling("dpm++2m", 8)))


def _judge(prepared: Prepared, first: Decoded, listener: Listener) -> dict[str, Any]:
    """The quality section: `spec.samples` images of the candidate for each replicate, against the data."""
    count = prepared.spec.samples * prepared.spec.replicates
    if not count:
        return quality.not_judged("no samples were asked for: set samples to judge quality")
    drawn = len(first.images)
    parts, done, batches = [first], 0, max(1, math.ceil((count - drawn) / BATCH))

    def on_step(step: Step) -> None:
        nonlocal done
        done += 1
        listener.progress("quality", done, batches * step.of)
        stop_if(listener)

    for start in range(drawn, count, BATCH):
        size = min(BATCH, count - start)
        parts.append(prepared.decoded(prepared.candidate, size, first=start, on_step=on_step))
    judged = Decoded(*(torch.cat(column)[:count] for column in zip(*parts, strict=True)))
    spec = prepared.spec
    return quality.judge(judged.images, spec.model, prepared.labels(count), spec.replicates, broken=judged.broken)


def _fidelity(before: Decoded | None, after: Decoded) -> dict[str, Any]:
    """The fidelity section; `before` is None for a baseline."""
    if before is None:
        return quality.fidelity(None, after.images, after.broken)
    return quality.fidelity(before.images, after.images, int((~(before.finite & after.finite)).sum()))


def stop_if(listener: Listener) -> None:
    if listener.cancelled():
        raise Cancelled("The run was cancelled.")


@contextmanager
def _stage(listener: Listener, name: str) -> Iterator[None]:
    stop_if(listener)
    listener.progress(name, 0, 1)
    yield
    listener.progress(name, 1, 1)


def _timed(call: Callable[[], None]) -> float:
    started = time.perf_counter()
    call()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started
