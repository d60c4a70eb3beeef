"""Estimates of how long a run takes on this machine, before it starts and while it runs. Knows no Streamlit."""

from collections.abc import Sequence
from typing import NamedTuple

from dit_core.jobs.job import PICTURES, RUN
from dit_core.jobs.queue import Job, QueueError
from dit_core.records.spec import RunSpec
from dit_core.ui import data, forecast, format, provenance

# every step of these takes about as long; timing has a time limit
EVEN_STAGES = ("reference", "train", "baseline", "candidate", "quality")
FEWEST_STEPS = 3  # steps of a stage before its pace is trusted


class StageStart(NamedTuple):
    """The time at which a browser first saw a job in a stage, and the step that the stage was at."""

    at: float
    step: int


def estimate(spec: RunSpec, *, pictures_only: bool = False) -> str:
    """Say how long a run will take on this machine, or that nothing comparable was measured here; for display."""
    try:
        jobs = data.history()
    except QueueError:
        return ""
    if pictures_only:
        return _pictures(spec, jobs)
    if expected := forecast.run_forecast(spec, jobs):
        return f"The run takes about {format.duration(expected.seconds)}, judging by earlier runs on this machine."
    unknown = "No run of this model has finished on this machine yet."
    if expected := forecast.run_forecast(spec, jobs, accept=lambda record: True):
        machine = provenance.difference(expected.record)
        return f"{unknown} On {machine}, the run takes about {format.duration(expected.seconds)}."
    return unknown


def _pictures(spec: RunSpec, jobs: Sequence[Job]) -> str:
    """Say how long the pictures of a run take; empty if nothing was measured here."""
    if seconds := forecast.pictures_seconds(spec, jobs):
        return f"The pictures take about {format.duration(seconds)}."
    if pace := forecast.pace_of(spec):
        seconds = format.duration(forecast.sheets_seconds(spec, pace))
        return f"The pictures take about {seconds}, after the model is loaded."
    return ""


def expected_seconds(job: Job, jobs: Sequence[Job]) -> float | None:
    """Return how many seconds a job takes in all, by the forecast before it starts; None if that is unknown."""
    if job.kind == PICTURES:
        return forecast.pictures_seconds(job.spec, jobs)
    expected = forecast.run_forecast(job.spec, jobs) if job.kind == RUN else None
    return expected.seconds if expected else None


def time_left(job: Job, stage: str, now: float, start: StageStart, expected: float | None) -> str:
    """Say how long a running job still takes; empty if there is no basis for an estimate.

    The estimate uses the `expected` duration in seconds if known, else the pace of the stage since `start`. If even the
    job's time limit would pass before the stage ends, it says so instead of giving a longer time.
    """
    elapsed = max(0.0, now - (job.started_at or now))  # the clock may have been set back
    if expected and expected > elapsed:
        return f"about {format.duration(expected - elapsed)} left"
    steps = job.step - start.step
    if stage not in EVEN_STAGES or steps < FEWEST_STEPS or job.step >= job.of or now <= start.at:
        return f"longer than expected ({format.duration(expected)})" if expected else ""
    rest = (now - start.at) / steps * (job.of - job.step)
    if elapsed + rest > job.time_limit_s:
        return f"will hit the {format.duration(job.time_limit_s)} time limit at this pace"
    return f"about {format.duration(rest)} left in this stage"
