"""Jobs, and sweeps of many jobs, as plain data."""

import json
import sqlite3
from dataclasses import dataclass

from dit_core.models.formats import FORMS
from dit_core.records.spec import RunSpec

ACTIVE = ("queued", "running")
RUN, EXPORT, PICTURES = "run", "export", "pictures"
KINDS = (RUN, EXPORT, *(f"{EXPORT}-{form}" for form in FORMS[1:]), PICTURES)


@dataclass(frozen=True)
class Job:
    """A queued, running or ended run. Times are Unix seconds; `stage`, `step` and `of` are the latest progress."""

    id: int
    spec: RunSpec
    kind: str  # one of KINDS: measure the run, export its model in a format, or only draw its pictures
    state: str
    stage: str
    step: int
    of: int
    reason: str  # why it failed, in one line; empty otherwise
    hint: str  # what to change; may be empty
    run_id: str | None  # of its record, once it is done
    created_at: float
    started_at: float | None
    ended_at: float | None
    time_limit_s: float
    again: bool
    cancelling: bool  # asked to stop, not stopped yet
    sweep: int | None  # the sweep that it belongs to
    tries: int  # number of starts
    owner: str = ""  # id of the browser that submitted it; empty if it was submitted without one

    @property
    def export_form(self) -> str | None:
        """Format of the model that the job writes; None if it writes no model."""
        return None if self.kind in (RUN, PICTURES) else FORMS[KINDS.index(self.kind) - 1]

    @property
    def active(self) -> bool:
        """Whether the job is queued or running."""
        return self.state in ACTIVE

    @property
    def seconds(self) -> float | None:
        """Duration of the run in seconds; None unless it has started and ended, or if the clock was set back."""
        seconds = self.ended_at - self.started_at if self.started_at and self.ended_at else -1.0
        return seconds if seconds >= 0 else None

    @property
    def skipped(self) -> bool:
        """Whether the run of a sweep was already known, so that nothing was measured."""
        return self.state == "done" and self.started_at is None


@dataclass(frozen=True)
class Sweep:
    """Runs that were submitted together, in their order."""

    id: int
    jobs: tuple[Job, ...]

    @property
    def owner(self) -> str:
        """Id of the browser that submitted the sweep; empty if it was submitted without one."""
        return self.jobs[0].owner

    @property
    def active(self) -> bool:
        return any(job.active for job in self.jobs)

    @property
    def running(self) -> Job | None:
        return next((job for job in self.jobs if job.state == "running"), None)

    @property
    def waiting(self) -> tuple[Job, ...]:
        return tuple(job for job in self.jobs if job.state == "queued")

    @property
    def failed(self) -> tuple[Job, ...]:
        """Jobs that failed; cancelled jobs do not count."""
        return tuple(job for job in self.jobs if job.state not in (*ACTIVE, "done", "cancelled"))

    @property
    def state(self) -> str:
        """State of the sweep: running or queued while a job is active, then cancelled, done or failed."""
        if self.active:
            return "running" if self.running else "queued"
        states = {job.state for job in self.jobs}
        return next((state for state in ("cancelled", "done") if state in states), "failed")

    def count(self, state: str) -> int:
        return sum(job.state == state for job in self.jobs)

    def seconds_left(self, now: float, before: int) -> float | None:
        """What is left where so many jobs come `before` its last one, at the pace of its own runs that were measured.

        None before the first of them has ended.
        """
        took = [job.seconds for job in self.jobs if job.state == "done" and job.seconds is not None]
        if not took or not self.active:
            return None
        pace = sum(took) / len(took)
        begun = self.running.started_at if self.running else None
        return pace * (before + 1) - min(pace, max(0.0, now - begun) if begun else 0.0)


def read(row: sqlite3.Row) -> Job | None:
    """Return a row as a Job; None if another version wrote a spec that this version cannot read."""
    try:
        spec = RunSpec.from_dict(json.loads(row["spec"]))
    except (ValueError, TypeError):
        return None
    return Job(**{**dict(row), "spec": spec, "again": bool(row["again"]), "cancelling": bool(row["cancelling"])})
