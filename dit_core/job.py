"""What the queue holds: jobs, and sweeps of many jobs, as plain data."""

import json
import sqlite3
from dataclasses import dataclass

from dit_core.spec import RunSpec

ACTIVE = ("queued", "running")
KINDS = ("run", "export")


@dataclass(frozen=True)
class Job:
    """A run waiting, running or ended. Times are Unix seconds; `stage`, `step` and `of` are the latest progress."""

    id: int
    spec: RunSpec
    kind: str  # one of KINDS: measure the run, or write its model into a file
    state: str
    stage: str
    step: int
    of: int
    reason: str  # why it ended badly, one line; empty otherwise
    hint: str  # what to change; may be empty
    run_id: str | None  # the record it made, once it is done
    created_at: float
    started_at: float | None
    ended_at: float | None
    time_limit_s: float
    again: bool
    cancelling: bool  # asked to stop, not stopped yet
    sweep: int | None  # the sweep that it belongs to
    tries: int  # how often it was begun

    @property
    def active(self) -> bool:
        """Queued or running: worth polling."""
        return self.state in ACTIVE

    @property
    def seconds(self) -> float | None:
        """How long it ran; None unless it has begun and ended."""
        return self.ended_at - self.started_at if self.started_at and self.ended_at else None

    @property
    def skipped(self) -> bool:
        """A sweep's run that was known when its turn came, so that nothing was measured."""
        return self.state == "done" and self.started_at is None


@dataclass(frozen=True)
class Sweep:
    """Runs that were asked for at once, in the order of their turns."""

    id: int
    jobs: tuple[Job, ...]

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
        """Those that ended badly without having been cancelled."""
        return tuple(job for job in self.jobs if job.state not in (*ACTIVE, "done", "cancelled"))

    @property
    def state(self) -> str:
        """That of a job which stands for all: what goes on, else how most of it ended."""
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
        return pace * (before + 1) - min(pace, now - begun if begun else 0.0)


def read(row: sqlite3.Row) -> Job | None:
    """The row as a Job; None if its spec was written by a version that this one does not understand."""
    try:
        spec = RunSpec.from_dict(json.loads(row["spec"]))
    except (ValueError, TypeError):
        return None
    return Job(**{**dict(row), "spec": spec, "again": bool(row["again"]), "cancelling": bool(row["cancelling"])})
