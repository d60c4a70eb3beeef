"""The queue of runs on disk: submit, poll, cancel. SQLite in WAL mode, so that pages read while the worker writes.

Every change of state is one guarded statement, so that of two conflicting changes only the first has an effect: a job
ends once, and cancelling an ended job does nothing. Ids are never reused, and each job has a folder of its own.

A sweep is a group of runs that were submitted together; its id is that of its first job. Single jobs run before sweeps,
and several sweeps take turns run by run.
"""

import math
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from dit_core.errors import BadRequest
from dit_core.jobs import table
from dit_core.jobs.job import ACTIVE, KINDS, Job, Sweep, read
from dit_core.jobs.table import LINE
from dit_core.recipes.recipe import Recipe
from dit_core.records.places import results_root
from dit_core.records.spec import RunSpec
from dit_core.system import causes
from dit_core.system.files import user_path

MOST_RUNS = 200  # of a sweep

_LIMIT_S = 3600.0
_TRIES = 3  # starts of a sweep's run whose worker dies each time
_BUSY_S = 20.0  # how long a statement waits for the statement of another process


class QueueError(RuntimeError):
    """The file of the queue cannot be used; the message says why in one line. Its jobs are unchanged."""


class Queue:
    """A queue in a folder: by default in the results, or the one that the environment variable DIT_QUEUE names."""

    def __init__(self, folder: Path | None = None) -> None:
        default = os.environ.get("DIT_QUEUE") or results_root() / "local" / "queue"
        self.root = user_path(folder or default).resolve()

    def submit(
        self,
        spec: RunSpec,
        *,
        time_limit_s: float = _LIMIT_S,
        again: bool = False,
        kind: str = "run",
        owner: str = "",
    ) -> int:
        """Add a run to the end of the queue and return the id of its job. Equal specs are separate jobs."""
        if not isinstance(time_limit_s, int | float) or not 0 < time_limit_s < math.inf:
            raise BadRequest(f"The time limit must be a positive number of seconds, got {time_limit_s!r}.")
        if kind not in KINDS:
            raise BadRequest(f"A job is one of {', '.join(KINDS)}, got {kind!r}.")
        row = (spec.to_json(), kind, time.time(), float(time_limit_s), again, owner)
        columns = "spec, kind, created_at, time_limit_s, again, owner"
        return self._run(f"INSERT INTO jobs ({columns}) VALUES (?, ?, ?, ?, ?, ?) RETURNING id", row)[0]["id"]

    def submit_sweep(self, specs: Sequence[RunSpec], *, owner: str = "") -> int:
        """Add all runs or none as a sweep, each run once, and return the id of the sweep.

        A run is skipped only if this machine has a record of it; see `claim`.
        """
        runs = list({spec.run_id: spec for spec in specs}.values())
        if not 1 <= len(runs) <= MOST_RUNS:
            raise BadRequest(f"A sweep has 1 to {MOST_RUNS} runs, got {len(runs)}.")
        columns = "spec, created_at, time_limit_s, again, sweep, owner"
        insert = f"INSERT INTO jobs ({columns}) VALUES (?, ?, ?, 1, ?, ?) RETURNING id"
        sweep = None
        with self._connect() as db:
            db.execute("BEGIN IMMEDIATE")
            for spec in runs:
                job_id = db.execute(insert, (spec.to_json(), time.time(), _LIMIT_S, sweep, owner)).fetchone()[0]
                if sweep is None:
                    sweep = job_id
                    db.execute("UPDATE jobs SET sweep = id WHERE id = ?", (sweep,))
            db.execute("COMMIT")
        return int(sweep or 0)

    def get(self, job_id: int) -> Job | None:
        """The job in its present state; None if there is no such job."""
        rows = self._run("SELECT * FROM jobs WHERE id = ?", (job_id,))
        return read(rows[0]) if rows else None

    def list(self, limit: int = 50, *, single: bool = False) -> list[Job]:
        """The latest jobs, newest first; with `single` only those that belong to no sweep."""
        which = "WHERE sweep IS NULL" if single else ""
        rows = self._run(f"SELECT * FROM jobs {which} ORDER BY id DESC LIMIT ?", (limit,))
        return [job for row in rows if (job := read(row))]

    def count(self, *states: str) -> int:
        """How many jobs are in one of these states."""
        marks = ", ".join("?" * len(states))
        return self._run(f"SELECT count(*) AS n FROM jobs WHERE state IN ({marks})", states)[0]["n"]

    def sweep(self, sweep: int) -> Sweep | None:
        """The sweep in its present state; None if there is no such sweep."""
        rows = self._run("SELECT * FROM jobs WHERE sweep = ? ORDER BY id", (sweep,))
        jobs = tuple(job for row in rows if (job := read(row)))
        return Sweep(sweep, jobs) if jobs else None

    def sweeps(self, limit: int = 10, *, active: bool = False) -> "list[Sweep]":
        """Active sweeps, then the latest others, each newest first; with `active` only active ones."""
        waits = f"sum(state IN {ACTIVE}) > 0"
        having = f"HAVING {waits}" if active else ""
        order = f"ORDER BY {waits} DESC, sweep DESC LIMIT ?"
        rows = self._run(f"SELECT sweep FROM jobs WHERE sweep IS NOT NULL GROUP BY sweep {having} {order}", (limit,))
        return [sweep for row in rows if (sweep := self.sweep(row["sweep"]))]

    def running(self) -> Job | None:
        """The job that runs now."""
        rows = self._run("SELECT * FROM jobs WHERE state = 'running' ORDER BY id LIMIT 1")
        return read(rows[0]) if rows else None

    def position(self, job_id: int) -> int:
        """How many jobs come before this one, including the running job; 0 if it is next, runs or has ended."""
        running = "(SELECT count(*) FROM jobs WHERE state = 'running')"
        rows = self._run(f"{LINE} SELECT place - 1 + {running} AS n FROM line WHERE id = ?", (job_id,))
        return rows[0]["n"] if rows else 0

    def cancel(self, job_id: int) -> None:
        """Cancel a job: a queued one at once, a running one at its next step. An ended job does not change."""
        self._cancel("id = ?", job_id)

    def cancel_sweep(self, sweep: int) -> None:
        """Cancel every job of a sweep."""
        self._cancel("sweep = ?", sweep)

    def folder(self, job_id: int) -> Path:
        """The folder of a job's previews (`baseline.png`, `candidate.png`) and its `log.txt`."""
        folder = self.root / "jobs" / str(int(job_id))
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def archive(self, job: Job) -> Path:
        """Where an export leaves its model; named by the weights that it began from, so that an old one is no match."""
        weights = Recipe.of(job.spec).weights_digest(job.spec.model)
        return self.folder(job.id) / f"model-{weights or 'published'}.zip"

    # For the worker and its job runner.

    def claim(self, known: Callable[[RunSpec], str | None] = lambda spec: None) -> Job | None:
        """Mark the next job as running and return it; None if no job waits.

        A run of a sweep for which `known` returns the id of a record ends as done, and the job after it is next.
        """
        begin = "UPDATE jobs SET state = 'running', started_at = ?, tries = tries + 1"
        skip = "UPDATE jobs SET state = 'done', run_id = ?, ended_at = ?"
        mine = "WHERE id = ? AND state = 'queued' RETURNING *"
        while rows := self._run(f"{LINE} SELECT jobs.* FROM line JOIN jobs USING (id) ORDER BY place LIMIT 1"):
            job, job_id = read(rows[0]), rows[0]["id"]
            if job and job.sweep and (run_id := known(job.spec)):
                self._run(f"{skip} {mine}", (run_id, time.time(), job_id))
            elif self._run(f"{begin} {mine}", (time.time(), job_id)):
                if job:
                    return self.get(job_id)
                self.finish(job_id, "failed", reason="This version cannot read its spec.", hint="Submit it again.")
        return None

    def progress(self, job_id: int, stage: str, step: int, of: int) -> None:
        """Write the progress of a running job."""
        change = "UPDATE jobs SET stage = ?, step = ?, of = ? WHERE id = ? AND state = 'running'"
        self._run(change, (stage, step, of, job_id))

    def finish(self, job_id: int, state: str, *, reason: str = "", hint: str = "", run_id: str | None = None) -> None:
        """Write the ending of a running job. If it has ended already, nothing changes."""
        ended = "state = ?, reason = ?, hint = ?, run_id = ?, ended_at = ?, cancelling = 0"
        values = (state, reason, hint, run_id, time.time(), job_id)
        self._run(f"UPDATE jobs SET {ended} WHERE id = ? AND state = 'running'", values)

    def put_back(self, job_id: int) -> None:
        """Queue a running job of a sweep again, as if it had not started; other jobs do not change."""
        self._put_back("tries = tries - 1, ", "id = ?", job_id)

    def recover(self) -> None:
        """End the jobs that a dead worker left running. Only the holder of the worker's lock may call this.

        A run of a sweep is queued again instead, up to `_TRIES` starts.
        """
        self._put_back("", "tries < ?", _TRIES)
        state = "CASE cancelling WHEN 1 THEN 'cancelled' ELSE 'failed' END"
        ended = f"state = {state}, reason = ?, hint = ?, ended_at = ?, cancelling = 0"
        values = ("The worker died while this job ran.", "Submit it again.", time.time())
        self._run(f"UPDATE jobs SET {ended} WHERE state = 'running'", values)

    def _put_back(self, change: str, which: str, value: int) -> None:
        waits = f"{change}state = 'queued', started_at = NULL, stage = '', step = 0, of = 0"
        self._run(
            f"UPDATE jobs SET {waits} WHERE {which} AND sweep IS NOT NULL AND state = 'running' AND cancelling = 0",
            (value,),
        )

    def _cancel(self, which: str, value: int) -> None:
        ended = "state = 'cancelled', reason = 'Cancelled before it started.', ended_at = ?"
        self._run(f"UPDATE jobs SET {ended} WHERE {which} AND state = 'queued'", (time.time(), value))
        self._run(f"UPDATE jobs SET cancelling = 1 WHERE {which} AND state = 'running'", (value,))

    @contextmanager
    def held_open(self) -> Iterator[None]:
        """Hold a connection open: closing the last one writes the whole log back with fsync, 40 times as slow."""
        with self._connect() as db:
            db.execute("SELECT count(*) FROM jobs").fetchall()
            yield

    def _run(self, statement: str, values: Sequence = ()) -> "list[sqlite3.Row]":
        """Run one statement as one transaction with its own connection: safe in any thread, and after a fork."""
        with self._connect() as db:
            return db.execute(statement, values).fetchall()

    @contextmanager
    def _connect(self) -> Iterator[sqlite3.Connection]:
        path = self.root / "jobs.sqlite3"
        try:
            if not path.exists():
                table.create(path)
            address = f"{path.as_uri()}?mode=rw"
            with closing(sqlite3.connect(address, uri=True, timeout=_BUSY_S, isolation_level=None)) as db:
                db.row_factory = sqlite3.Row
                db.execute("PRAGMA synchronous = NORMAL")
                table.bring_up_to_date(db)
                yield db
        except (sqlite3.Error, OSError, UnicodeDecodeError) as error:  # also of SQLite's own messages on damaged files
            raise QueueError(f"The job queue {causes.not_written(path, error, causes.QUEUE)}") from error
