"""The queue of runs on disk: submit, poll, cancel. SQLite in WAL mode, so that pages read while the worker writes.

Every change of state is one guarded statement, so whoever comes second changes nothing: a job ends once, and a late
cancel of an ended job is without effect. Ids are never given twice, and each job has a folder of its own.
"""

import json
import math
import os
import secrets
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from dit_core import techniques
from dit_core.errors import BadRequest
from dit_core.models import recovered
from dit_core.spec import RunSpec
from dit_core.store import results_root

STATES = ("queued", "running", "done", "failed", "cancelled", "out-of-memory", "timed-out")
ACTIVE = ("queued", "running")
KINDS = ("run", "export")

_VERSION = 1  # of the table; the first had no kind
_SCHEMA = f"""
CREATE TABLE jobs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    spec TEXT NOT NULL,
    kind TEXT NOT NULL DEFAULT 'run',
    state TEXT NOT NULL DEFAULT 'queued' CHECK (state IN {STATES}),
    stage TEXT NOT NULL DEFAULT '',
    step INTEGER NOT NULL DEFAULT 0,
    of INTEGER NOT NULL DEFAULT 0,
    reason TEXT NOT NULL DEFAULT '',
    hint TEXT NOT NULL DEFAULT '',
    run_id TEXT,
    created_at REAL NOT NULL,
    started_at REAL,
    ended_at REAL,
    time_limit_s REAL NOT NULL,
    again INTEGER NOT NULL DEFAULT 0,
    cancelling INTEGER NOT NULL DEFAULT 0
);
PRAGMA user_version = {_VERSION};
CREATE INDEX jobs_by_state ON jobs (state, id);
"""
_BUSY_S = 20.0  # how long a statement waits for another process's


class QueueError(RuntimeError):
    """The queue's file cannot be used; one line that says why. Jobs already there are as they were."""


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

    @property
    def active(self) -> bool:
        """Queued or running: worth polling."""
        return self.state in ACTIVE


class Queue:
    """A queue in a folder: by default that of the store, or the one named by the environment variable DIT_QUEUE."""

    def __init__(self, folder: Path | None = None) -> None:
        default = os.environ.get("DIT_QUEUE") or results_root() / "local" / "queue"
        self.root = Path(folder or default).resolve()

    def submit(self, spec: RunSpec, *, time_limit_s: float = 3600, again: bool = False, kind: str = "run") -> int:
        """Put a run at the end of the queue and return its id. Equal specs are separate jobs, each its owner's."""
        if not isinstance(time_limit_s, int | float) or not 0 < time_limit_s < math.inf:
            raise BadRequest(f"The time limit must be a positive number of seconds, got {time_limit_s!r}.")
        if kind not in KINDS:
            raise BadRequest(f"A job is one of {', '.join(KINDS)}, got {kind!r}.")
        row = (spec.to_json(), kind, time.time(), float(time_limit_s), again)
        statement = "INSERT INTO jobs (spec, kind, created_at, time_limit_s, again) VALUES (?, ?, ?, ?, ?) RETURNING id"
        return self._run(statement, row)[0]["id"]

    def get(self, job_id: int) -> Job | None:
        """The job as it stands; None if there is no such job."""
        rows = self._run("SELECT * FROM jobs WHERE id = ?", (job_id,))
        return _job(rows[0]) if rows else None

    def list(self, limit: int = 50) -> list[Job]:
        """The latest jobs, newest first."""
        rows = self._run("SELECT * FROM jobs ORDER BY id DESC LIMIT ?", (limit,))
        return [job for row in rows if (job := _job(row))]

    def running(self) -> Job | None:
        """The job that has the device."""
        rows = self._run("SELECT * FROM jobs WHERE state = 'running' ORDER BY id LIMIT 1")
        return _job(rows[0]) if rows else None

    def position(self, job_id: int) -> int:
        """How many jobs come before it, the running one included; 0 if it is next, runs or has ended."""
        own = "(SELECT id FROM jobs WHERE id = ? AND state = 'queued')"
        ahead = f"SELECT count(*) AS n FROM jobs WHERE state IN ('queued', 'running') AND id < {own}"
        return self._run(ahead, (job_id,))[0]["n"]

    def cancel(self, job_id: int) -> None:
        """A queued job is cancelled at once, a running one at its next step; an ended one stays as it ended."""
        ended = "state = 'cancelled', reason = 'Cancelled before it started.', ended_at = ?"
        self._run(f"UPDATE jobs SET {ended} WHERE id = ? AND state = 'queued'", (time.time(), job_id))
        self._run("UPDATE jobs SET cancelling = 1 WHERE id = ? AND state = 'running'", (job_id,))

    def folder(self, job_id: int) -> Path:
        """Where the job's previews (`baseline.png`, `candidate.png`) and its `log.txt` are."""
        folder = self.root / "jobs" / str(int(job_id))
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def archive(self, job: Job) -> Path:
        """Where an export leaves its model; named by the weights that it began from, so that an old one is no match."""
        weights = recovered.weights_digest(job.spec.model, techniques.canonical(job.spec.techniques))
        return self.folder(job.id) / f"model-{weights or 'published'}.zip"

    # For the worker and its child.

    def claim(self) -> Job | None:
        """Mark the oldest queued job as running and return it; None if nothing waits."""
        oldest = "(SELECT id FROM jobs WHERE state = 'queued' ORDER BY id LIMIT 1)"
        claim = f"UPDATE jobs SET state = 'running', started_at = ? WHERE id = {oldest} RETURNING *"
        while rows := self._run(claim, (time.time(),)):
            if job := _job(rows[0]):
                return job
            self.finish(rows[0]["id"], "failed", reason="This version cannot read its spec.", hint="Submit it again.")
        return None

    def progress(self, job_id: int, stage: str, step: int, of: int) -> None:
        """Note where a running job stands."""
        change = "UPDATE jobs SET stage = ?, step = ?, of = ? WHERE id = ? AND state = 'running'"
        self._run(change, (stage, step, of, job_id))

    def finish(self, job_id: int, state: str, *, reason: str = "", hint: str = "", run_id: str | None = None) -> None:
        """End a running job. If it has ended already, nothing changes."""
        ended = "state = ?, reason = ?, hint = ?, run_id = ?, ended_at = ?, cancelling = 0"
        values = (state, reason, hint, run_id, time.time(), job_id)
        self._run(f"UPDATE jobs SET {ended} WHERE id = ? AND state = 'running'", values)

    def recover(self) -> None:
        """End what a dead worker left running. Only for the one that holds the worker's lock."""
        state = "CASE cancelling WHEN 1 THEN 'cancelled' ELSE 'failed' END"
        ended = f"state = {state}, reason = ?, hint = ?, ended_at = ?, cancelling = 0"
        values = ("The worker died while this job ran.", "Submit it again.", time.time())
        self._run(f"UPDATE jobs SET {ended} WHERE state = 'running'", values)

    @contextmanager
    def held_open(self) -> Iterator[None]:
        """While a worker lives: whoever closes the last connection writes all back with fsync, 40 times the cost."""
        with self._connect() as db:
            db.execute("SELECT count(*) FROM jobs").fetchall()
            yield

    def _run(self, statement: str, values: tuple = ()) -> "list[sqlite3.Row]":
        """One statement, one transaction, one connection: safe from any thread, nothing is kept across a fork."""
        with self._connect() as db:
            return db.execute(statement, values).fetchall()

    @contextmanager
    def _connect(self) -> Iterator[sqlite3.Connection]:
        path = self.root / "jobs.sqlite3"
        try:
            if not path.exists():
                _create(path)
            address = f"{path.as_uri()}?mode=rw"
            with closing(sqlite3.connect(address, uri=True, timeout=_BUSY_S, isolation_level=None)) as db:
                db.row_factory = sqlite3.Row
                db.execute("PRAGMA synchronous = NORMAL")
                _bring_up_to_date(db)
                yield db
        except (sqlite3.Error, OSError) as error:
            raise QueueError(f"The job queue in {self.root} cannot be used: {error}. Is its disk full?") from error


def _create(path: Path) -> None:
    """An empty queue, whole as soon as it has its name: switching to WAL in place may refuse whoever comes second."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{secrets.token_hex(4)}.tmp")
    try:
        with closing(sqlite3.connect(temporary, isolation_level=None)) as db:
            db.execute("PRAGMA journal_mode = WAL")
            db.executescript(_SCHEMA)
        with suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _bring_up_to_date(db: sqlite3.Connection) -> None:
    """A queue that an earlier version left; of two processes that come at once, the second changes nothing."""
    if db.execute("PRAGMA user_version").fetchone()[0] < _VERSION:
        with suppress(sqlite3.OperationalError):  # the other was first
            db.execute("ALTER TABLE jobs ADD COLUMN kind TEXT NOT NULL DEFAULT 'run'")
        db.execute(f"PRAGMA user_version = {_VERSION}")


def _job(row: sqlite3.Row) -> Job | None:
    """The row as a Job; None if its spec was written by a version that this one does not understand."""
    try:
        spec = RunSpec.from_dict(json.loads(row["spec"]))
    except (ValueError, TypeError):
        return None
    return Job(**{**dict(row), "spec": spec, "again": bool(row["again"]), "cancelling": bool(row["cancelling"])})
