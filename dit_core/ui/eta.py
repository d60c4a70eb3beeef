"""Estimates of how long a run takes on this machine, before it starts and while it runs. Knows no Streamlit."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

from dit_core.jobs.queue import Job, QueueError
from dit_core.models import recovered
from dit_core.records import metrics
from dit_core.records.record import RunRecord
from dit_core.records.spec import RunSpec
from dit_core.ui import data, format, provenance
from dit_core.ui.comparisons import spec_of

RECENT = 9  # finished jobs that the median is taken over: the machine may have been faster or slower long ago
# every step of these takes about as long; timing has a time limit
EVEN_STAGES = ("reference", "train", "baseline", "candidate", "quality")
FEWEST_STEPS = 3  # steps of a stage before its pace is trusted


class StageStart(NamedTuple):
    """The time at which a browser first saw a job in a stage, and the step that the stage was at."""

    at: float
    step: int


def typical_seconds(spec: RunSpec, jobs: Sequence[Job]) -> float | None:
    """Return the median duration of the latest finished runs with the same workload size as `spec`, in seconds.

    `jobs` are ordered newest first. Of an even number, the lower median is taken: the faster run was disturbed less.
    """
    size = _size(spec)
    durations = [
        job.seconds
        for job in jobs
        if job.state == "done" and job.kind == "run" and job.seconds is not None and _size(job.spec) == size
    ]
    return statistics.median_low(durations[:RECENT]) if durations else None


def image_seconds(
    spec: RunSpec, accept: Callable[[RunRecord], bool] = lambda record: True
) -> tuple[float, RunRecord] | None:
    """Return the seconds that generating a run's images takes, and the record whose pace the estimate uses.

    The pace is the median over the accepted records of the same model and kind of device; None without such a record.
    Baseline and candidate each generate a sheet, and the candidate also generates the images that quality needs.
    """
    records = [one for one in data.loaded().records if _kind(spec_of(one)) == _kind(spec) and accept(one.record)]
    same_recipe = [one for one in records if spec_of(one).techniques == spec.techniques] or records
    paces = sorted(  # seconds per image and step
        (latency / spec_of(one).batch_size / spec_of(one).steps, i)
        for i, one in enumerate(same_recipe)
        if (latency := metrics.LATENCY.read(one.record))
    )
    if not paces:
        return None
    pace, i = paces[len(paces) // 2]
    sheet = len(same_recipe[i].record.samples.get("labels") or ())
    images = sheet * (1 + bool(spec.techniques)) + max(0, spec.samples * spec.replicates - sheet)
    return pace * images * spec.steps, same_recipe[i].record


def forecast_seconds(spec: RunSpec, jobs: Sequence[Job]) -> float | None:
    """Return the expected duration of a whole run of a new size, from runs of the same model on this machine.

    It is the time for its images, and the median of what those runs took besides their images: loading, timing, memory
    and the metrics. None without such runs.
    """
    own = image_seconds(spec, provenance.measured_here)
    if own is None:
        return None
    alike = [job for job in jobs if job.state == "done" and job.kind == "run" and _is_alike(job.spec, spec)]
    others = [
        max(0.0, job.seconds - images[0])
        for job in alike[:RECENT]
        if job.seconds is not None and (images := image_seconds(job.spec, provenance.measured_here))
    ]
    return own[0] + statistics.median(others) if others else None


def estimate(spec: RunSpec, *, pictures_only: bool = False) -> str:
    """Say how long a run will take on this machine, or that nothing comparable was measured here; for display."""
    if pictures_only:
        pace = image_seconds(replace(spec, samples=0), provenance.measured_here)
        return f"The pictures take about {format.duration(pace[0])}, after the model is loaded." if pace else ""
    try:
        jobs = data.history()
    except QueueError:
        return ""
    if typical := typical_seconds(spec, jobs):
        return f"Runs of this size took about {format.duration(typical)} on this machine."
    if forecast := forecast_seconds(spec, jobs):
        return f"The whole run takes about {format.duration(forecast)}, judging by other runs on this machine."
    if pace := image_seconds(spec, provenance.measured_here):
        return f"Generating the images takes at least {format.duration(pace[0])}, judging by earlier runs here."
    unknown = "No run of this size has finished on this machine yet."
    if pace := image_seconds(spec):
        seconds, record = pace
        machine = provenance.difference(record)
        return f"{unknown} On {machine}, generating the images takes at least {format.duration(seconds)}."
    return unknown


def time_left(job: Job, stage: str, now: float, start: StageStart, typical: float | None) -> str:
    """Say how long a running job still takes; empty if there is no basis for an estimate.

    The estimate uses the `typical` duration in seconds if known, else the pace of the stage since `start`. If even the
    job's time limit would pass before the stage ends, it says so instead of giving a longer time.
    """
    elapsed = max(0.0, now - (job.started_at or now))  # the clock may have been set back
    if typical and typical > elapsed:
        return f"about {format.duration(typical - elapsed)} left"
    steps = job.step - start.step
    if stage not in EVEN_STAGES or steps < FEWEST_STEPS or job.step >= job.of or now <= start.at:
        return f"longer than the usual {format.duration(typical)}" if typical else ""
    rest = (now - start.at) / steps * (job.of - job.step)
    if elapsed + rest > job.time_limit_s:
        return f"will hit the {format.duration(job.time_limit_s)} time limit at this pace"
    return f"about {format.duration(rest)} left in this stage"


def _is_alike(spec: RunSpec, other: RunSpec) -> bool:
    """Whether two runs take about equally long besides their images."""
    return _kind(spec) == _kind(other) and bool(spec.techniques) == bool(other.techniques)


def _size(spec: RunSpec) -> tuple:
    trained = tuple(entry["recover"] for entry in spec.techniques if recovered.trains([entry]))
    return spec.model, spec.steps, spec.samples, spec.batch_size, spec.device, bool(spec.techniques), trained


def _kind(spec: RunSpec) -> tuple:
    return spec.model, spec.device, spec.guidance == 1
