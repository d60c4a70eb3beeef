"""Measure one run: from a spec to a record.

Stages, in the order in which they are reported to a listener: load, reference (if the spec names one), train (if a
technique recovers now), baseline, candidate, speed, compute, quality, memory. On a CPU the peak of memory is measured
by another process while the images of the quality stage are drawn; the memory stage waits for it.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any

import torch

from dit_core import measure, quality
from dit_core.data.sheets import sheet, webp
from dit_core.errors import BadRequest
from dit_core.experiment import own_metrics, paired, trajectories
from dit_core.experiment.checks import check, training_digest
from dit_core.experiment.known import is_current
from dit_core.experiment.prepare import SHEET_COLUMNS, Prepared, Workload, draw, prepare, preview_of, stop_if
from dit_core.listener import Listener
from dit_core.measure.energy import energy as energy_section
from dit_core.measure.flops import flops as flops_section
from dit_core.models import sources
from dit_core.models.model import Decoded, Model
from dit_core.recipes import naming
from dit_core.recipes.recipe import Recipe
from dit_core.records.record import RunRecord
from dit_core.records.spec import RunSpec
from dit_core.records.store import RecordExists, Store
from dit_core.sampling.loop import Step
from dit_core.system import devices, isolation

QUICK_CALL_S = 5.0  # slower calls are not timed for a first estimate of the speed-up, which must not take long


def run(
    spec: RunSpec,
    *,
    store: Store | None = None,
    listener: Listener = Listener(),  # noqa: B008
    again: bool = False,
    local: bool = True,
) -> RunRecord:
    """Measure a run, put its record into the store, and return the record.

    A record in the store is returned without measuring if it was made with the present weights of the model, unless
    `again`. Raises BadRequest if the spec cannot run on this machine, Cancelled if the listener has cancelled,
    StoreError before anything is measured if the store cannot be written, and NotSaved, with the record, if it cannot
    be written in the end.
    """
    check(spec)
    if store and not again and (stored := store.get(spec.run_id)) and _can_be_reused(stored.record):
        return stored.record
    if store:
        store.probe(local=local)
    recipe = Recipe.of(spec)
    trained_on = {"training_images": training_digest(spec)} if spec.training_images else {}
    listener.progress("load", 0, 1)
    if spec.reference and spec.samples:
        quality.build_reference(spec.model, spec.reference, partial(_reference_progress, listener))
    if recipe.trains or recipe.needs_images:
        prepare(spec, listener, keep_baseline=False)  # trains, so that the load below takes only the loading time
    prepared = prepare(spec, listener)
    listener.progress("load", 1, 1)
    first_call_s = _timed(prepared.generate_once, devices.synchronizer(spec.device))
    base = own = draw(prepared, prepared.baseline, "baseline", listener)
    isolation.warm(Workload.__module__)  # for the timing processes; after the first picture, which it would delay
    if recipe:
        own = draw(prepared, prepared.candidate, "candidate", listener)
        _estimate(prepared, first_call_s, base.seconds / own.seconds, listener)
    else:
        listener.preview("candidate", preview_of(base.images.images))
    before, after = base.images, own.images
    environment = {**measure.environment(spec.device), "dtype": spec.precision, **_model(spec, recipe), **trained_on}
    sections = _measured(prepared, environment, listener)
    times = {"load_s": prepared.load_s, "first_call_s": first_call_s, "batch_size": spec.batch_size}
    with measure.peak_memory_alongside(Workload(spec)) as peak_memory:  # neither it nor what is drawn here is timed
        drawn = _quality(prepared, environment, before if recipe else None, after, listener)
        with _stage(listener, "memory"):
            sections["memory"] |= peak_memory(lambda: stop_if(listener))
    if recipe.weights_digest(spec.model) != environment["weights"]:
        raise BadRequest(f"The weights of {spec.model} changed while they were measured: run this again.")
    record = RunRecord(
        run_id=spec.run_id,
        status="done",
        spec=spec.to_dict(),
        environment=environment,
        **{**sections, "latency": {**sections["latency"], **times}},
        quality=drawn,
        fidelity=_fidelity(before if recipe else None, after),
        samples=_samples(prepared, after),
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    if store is None:
        return record
    sheets = {"candidate": after.images, "baseline": before.images}
    with suppress(RecordExists):  # measured twice at the same time: the first record stays
        stale = (stored := store.get(spec.run_id)) is not None and not _can_be_reused(stored.record)
        store.put_or_keep(
            record,
            {side: webp(sheet(images, SHEET_COLUMNS)) for side, images in sheets.items()},
            name=naming.file_name(spec.techniques),
            local=local,
            again=again or stale,
        )
    stored = store.get(spec.run_id)
    if stored and trajectories.is_drawable(stored.record):
        with suppress(OSError):  # a full disk costs this picture, not the run
            trajectories.write(stored, own.formed)
    return stored.record if stored else record


def _estimate(prepared: Prepared, first_call_s: float, drawn_ratio: float, listener: Listener) -> None:
    """Report first estimates of the speed-up: at once from the sheets, then from alternate calls if these are quick.

    The sheets were drawn one after the other and in larger batches than the timed ones: their estimate is rougher.
    """
    listener.estimate(drawn_ratio, "from drawing these images")
    if first_call_s <= QUICK_CALL_S and (
        ratio := measure.first_speedup(prepared.calls(), devices.synchronizer(prepared.spec.device))
    ):
        listener.estimate(ratio, "from a few batches")


def _can_be_reused(record: RunRecord) -> bool:
    return is_current(record) and not own_metrics.have_changed(record)


def _model(spec: RunSpec, recipe: Recipe) -> dict[str, Any]:
    """Return the digest of the weights, and the facts of the model that its file does not tell, for the record."""
    facts = sources.find(spec.model).facts
    model = {fact.name: {"value": fact.value, "origin": fact.origin} for fact in facts}
    return {"weights": recipe.weights_digest(spec.model), **({"model": model} if model else {})}


def _measured(prepared: Prepared, environment: dict[str, Any], listener: Listener) -> dict[str, dict[str, Any]]:
    """Return the sections latency, speedup, memory (without its peak), flops and energy."""
    calls, workload = prepared.calls(), Workload(prepared.spec)
    candidate = calls.candidate or calls.baseline
    latency, speedup = measure.speed(calls, workload, listener)
    with _stage(listener, "compute"):
        memory = measure.weights_of(prepared.candidate.dit, prepared.baseline.dit)
        flops = flops_section(candidate, calls.baseline)
        measure.add_routing(flops, candidate, prepared.candidate.dit)
        steps = prepared.sampling_of(prepared.candidate).steps
        measure.add_block_evaluations(flops, candidate, prepared.candidate.dit, steps, prepared.spec.batch_size)
        measure.add_compilation(latency, workload, prepared.candidate.dit, lambda: stop_if(listener))
        energy = energy_section(candidate, prepared.spec.device, baseline=calls.baseline if calls.candidate else None)
        sections = {"latency": latency, "speedup": speedup, "memory": memory, "flops": flops}
        sides = (candidate, prepared.candidate), (calls.baseline, prepared.baseline)
        measure.add_attribution(sections, environment, *sides)
    return {**sections, "energy": energy}


def _samples(prepared: Prepared, drawn: Decoded) -> dict[str, Any]:
    """Return the samples section: what the images of a sheet show."""
    count = len(drawn.images)
    return {
        "sheet": None,
        "baseline_sheet": None,
        "tile": drawn.images.shape[-1],
        "columns": SHEET_COLUMNS,
        "labels": [prepared.baseline.classes[label] for label in prepared.labels(count)],
        "seeds": [prepared.spec.seed] * count,
        "indices": list(range(count)),
        "reason": "not stored",
    }


def _quality(
    prepared: Prepared, environment: dict[str, Any], before: Decoded | None, after: Decoded, listener: Listener
) -> dict[str, Any]:
    """Return the quality section, from `spec.samples` images of the candidate for each replicate.

    The difference to the baseline is computed from as many of its images, of the same seeds. `before` and `after` are
    the images of the sheets, which are the first of these; `before` is None if the run is the baseline.
    """
    spec = prepared.spec
    count = spec.samples * spec.replicates
    if not count:
        return quality.not_evaluated("no samples were requested: set samples to measure quality")

    def drawn(model: Model, first: Decoded, share: tuple[float, float]) -> Decoded:
        done, batches, parts = 0, max(1, math.ceil((count - len(first.images)) / prepared.batch)), [first]

        def on_step(step: Step) -> None:
            nonlocal done
            done += 1
            begin, end = share
            listener.progress("quality", round(count * (begin + (end - begin) * done / (batches * step.of))), count)
            stop_if(listener)

        for start in range(len(first.images), count, prepared.batch):
            parts.append(prepared.decoded(model, min(prepared.batch, count - start), first=start, on_step=on_step))
        return Decoded(*(torch.cat(column)[:count] for column in zip(*parts, strict=True)))

    decoded = drawn(prepared.candidate, after, (0, 1 if before is None else 0.5))
    baseline = "this run is the baseline"
    if before is not None:
        baseline = paired.baseline_features(spec, environment, lambda: drawn(prepared.baseline, before, (0.5, 1)))
    section = quality.evaluate_images(
        decoded.images,
        spec.model,
        prepared.labels(count),
        spec.replicates,
        reference=spec.reference,
        broken=decoded.broken,
        baseline=baseline,
    )
    if not spec.metrics:
        return section
    broken = quality.non_finite(decoded.broken, len(decoded.images)) if decoded.broken else ""
    own = own_metrics.evaluate(spec, decoded.images.permute(0, 2, 3, 1).numpy(), listener.note, broken)
    return {**section, "own": own}


def _reference_progress(listener: Listener, done: int, of: int) -> None:
    stop_if(listener)
    listener.progress("reference", done, of)


def _fidelity(before: Decoded | None, after: Decoded) -> dict[str, Any]:
    """Return the fidelity section; `before` is None if the run is the baseline."""
    if before is None:
        return quality.compare_images(None, after.images, after.broken)
    return quality.compare_images(before.images, after.images, int((~(before.finite & after.finite)).sum()))


@contextmanager
def _stage(listener: Listener, name: str) -> Iterator[None]:
    """Report begin and end of a stage. Raises Cancelled if the listener has cancelled."""
    stop_if(listener)
    listener.progress(name, 0, 1)
    yield
    listener.progress(name, 1, 1)


def _timed(call: Callable[[], None], synchronize: Callable[[], None]) -> float:
    """Return the seconds that a call takes, including work on the device."""
    started = time.perf_counter()
    call()
    synchronize()
    return time.perf_counter() - started
