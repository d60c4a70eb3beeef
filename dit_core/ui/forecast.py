"""Forecasts of the duration of a whole run: its parts from the times in records, and the rest from earlier jobs.

Knows no Streamlit. The constants are medians over the bundled records, from the time between one record of a sweep and
the next.
"""

import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from dit_core.errors import BadRequest
from dit_core.jobs.job import PICTURES, RUN
from dit_core.jobs.queue import Job
from dit_core.measure.interleaved import Plan
from dit_core.measure.interval import FULL
from dit_core.models import recovered
from dit_core.recipes.recipe import Recipe
from dit_core.records import metrics
from dit_core.records.explanation import COMPILATION
from dit_core.records.record import RunRecord
from dit_core.records.spec import RunSpec
from dit_core.records.store import Stored
from dit_core.sampling.config import SamplingConfig
from dit_core.ui import data, provenance
from dit_core.ui.comparisons import spec_of

RECENT = 9  # jobs and records that a median is taken over: the machine may have been faster or slower long ago
SHEET_IMAGES = 36  # of each side
LARGE_BATCH = 0.75  # time of an image in the batches of sheets and quality, as a share of that in a timed batch
JUDGED_S = 0.007  # seconds to judge an image
OTHER_S = 10.0  # seconds of loading, memory, counting operations and writing, until a job has ended here
COMPILED_PROCESSES = 4  # which find the compiled code on disk; one compiles it anew
COMPILED_TIMES_S = 10.0  # of timing with and without compilation
TRAINING_BATCH, TRAINING_PASSES = 64, 4  # images of a step of recovery; its passes: the teacher's, forward and backward


Accept = Callable[[RunRecord], bool]


class Pace(NamedTuple):
    """Seconds that each side takes for one image, and the record that the estimate uses."""

    baseline_s: float
    candidate_s: float
    record: RunRecord


@dataclass(frozen=True)
class Forecast:
    """Seconds that a whole run takes, and the record of the machine whose pace the forecast uses."""

    seconds: float
    record: RunRecord


def run_forecast(spec: RunSpec, jobs: Sequence[Job], accept: Accept = provenance.measured_here) -> Forecast | None:
    """Return the forecast of a whole run at the pace of the accepted records; None without such a record.

    `jobs` are the jobs of this machine, newest first. What they took besides their parts is added.
    """
    pace = pace_of(spec, accept)
    if pace is None:
        return None
    earlier = [job for job in jobs if job.state == "done" and job.kind == RUN and job.seconds is not None]
    same = [job.seconds or 0.0 for job in earlier if job.spec == spec][:-1]  # the first may have drawn the baseline too
    if same:
        return Forecast(statistics.median_low(same[:RECENT]), pace.record)
    rest = []
    for place, job in enumerate(earlier[:RECENT]):
        own = _kind(job.spec) == _kind(spec) and pace_of(job.spec)
        if own:
            rest.append((job.seconds or 0.0) - parts_seconds(job.spec, own, earlier[place + 1 :]))
    other = statistics.median(rest) if rest else OTHER_S
    return Forecast(max(0.0, parts_seconds(spec, pace, earlier) + other), pace.record)


def pictures_seconds(spec: RunSpec, jobs: Sequence[Job]) -> float | None:
    """Return the seconds of a job that only draws the pictures of both sides; None before the first one has ended."""
    pace = pace_of(spec)
    earlier = [job for job in jobs if job.state == "done" and job.kind == PICTURES and job.seconds is not None]
    rest = [
        (job.seconds or 0.0) - sheets_seconds(job.spec, own)
        for job in earlier[:RECENT]
        if _kind(job.spec) == _kind(spec) and (own := pace_of(job.spec))
    ]
    return max(0.0, sheets_seconds(spec, pace) + statistics.median(rest)) if pace and rest else None


def sheets_seconds(spec: RunSpec, pace: Pace) -> float:
    """Return the seconds that the pictures of both sides take."""
    return LARGE_BATCH * SHEET_IMAGES * (pace.baseline_s + (pace.candidate_s if spec.techniques else 0.0))


def parts_seconds(spec: RunSpec, pace: Pace, earlier: Sequence[Job]) -> float:
    """Return the seconds of pictures, timing, quality, compilation and training; `earlier` are the jobs before it."""
    judged = spec.samples * spec.replicates
    images = LARGE_BATCH * max(0, judged - SHEET_IMAGES)
    quality = images * pace.candidate_s + judged * JUDGED_S
    if judged and spec.techniques and not _baseline_is_drawn(spec, earlier):
        quality += images * pace.baseline_s + judged * JUDGED_S
    sides = [pace.baseline_s, pace.candidate_s] if spec.techniques else [pace.candidate_s]
    timing = FULL * Plan().expected_s(*(spec.batch_size * side for side in sides))
    return sheets_seconds(spec, pace) + quality + timing + _compilation(spec) + _training(spec, pace)


def pace_of(spec: RunSpec, accept: Accept = provenance.measured_here) -> Pace | None:
    """Return the pace of both sides of a run on one machine, from the newest accepted records of its model and device.

    A recipe without an accepted record has the pace of its speed-up on any machine, else of its number of steps.
    """
    alike = [one for one in data.loaded().records if _kind(spec_of(one)) == _kind(spec)]
    baselines = [(step_s, one.record) for one in alike if accept(one.record) and (step_s := _baseline_step_s(one))]
    if not baselines:
        return None
    machine = Counter(_machine(record) for _, record in baselines).most_common(1)[0][0]
    baselines = [(step_s, record) for step_s, record in baselines if _machine(record) == machine]
    same_batch = [pair for pair in baselines if pair[1].spec["batch_size"] == spec.batch_size] or baselines
    recent = sorted(same_batch[:RECENT], key=lambda pair: pair[0])
    step_s, record = recent[len(recent) // 2]
    base_s, steps = step_s * spec.steps, _steps(spec)
    own = [one for one in alike if spec_of(one).techniques == spec.techniques]
    times = [
        latency / spec_of(one).batch_size / _steps(spec_of(one)) * steps
        for one in own
        if _machine(one.record) == machine and (latency := metrics.LATENCY.read(one.record))
    ]
    ratios = [ratio for one in own if (ratio := metrics.SPEEDUP.read(one.record)) and spec_of(one).steps == spec.steps]
    if not spec.techniques:
        candidate_s = base_s
    elif times:
        candidate_s = statistics.median(times[:RECENT])
    else:
        candidate_s = base_s / statistics.median(ratios) if ratios else step_s * steps
    return Pace(base_s, candidate_s, record)


def _baseline_step_s(stored: Stored) -> float | None:
    """Return the seconds of one image and step of the baseline of a record."""
    spec, record = spec_of(stored), stored.record
    latency = metrics.LATENCY.read_baseline(record) if spec.techniques else metrics.LATENCY.read(record)
    return latency / spec.batch_size / spec.steps if latency else None


def _machine(record: RunRecord) -> str:
    return record.environment["fingerprint"]


def _steps(spec: RunSpec) -> int:
    """Return the number of steps of the candidate."""
    try:
        return Recipe.of(spec).sampling(SamplingConfig.of(spec)).steps
    except BadRequest:
        return spec.steps


def _baseline_is_drawn(spec: RunSpec, earlier: Sequence[Job]) -> bool:
    """Whether an earlier job has drawn the baseline's images that quality is compared with."""
    baseline = spec.baseline
    return any(job.spec.techniques and job.spec.baseline == baseline for job in earlier)


def _compilation(spec: RunSpec) -> float:
    """Return the seconds that a compiled recipe takes longer, from records of any machine; 0 if it compiles nothing."""
    if not any(entry["name"] == "compilation" for entry in spec.techniques):
        return 0.0
    times = [times for one in data.loaded().records if (times := one.record.latency.get("compilation"))]
    cold_s, warm_s = (statistics.median(each[name] for each in times) if times else 0.0 for name in COMPILATION[:2])
    return cold_s + COMPILED_PROCESSES * warm_s + COMPILED_TIMES_S


def _training(spec: RunSpec, pace: Pace) -> float:
    """Return the seconds of recovery training, at the pace of the baseline's passes."""
    counts = [int(entry["recover"]) for entry in spec.techniques if recovered.trains([entry])]
    pass_s = pace.baseline_s / spec.steps / (1 if spec.guidance == 1 else 2)
    return sum(counts) * TRAINING_BATCH * TRAINING_PASSES * pass_s


def _kind(spec: RunSpec) -> tuple:
    return spec.model, spec.device, spec.guidance == 1
