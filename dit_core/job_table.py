"""The table behind the queue: its columns, the order in which jobs have their turns, and how an older one is kept."""

import os
import secrets
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

STATES = ("queued", "running", "done", "failed", "cancelled", "out-of-memory", "timed-out")
ADDED = (  # by each version since the first
    "ALTER TABLE jobs ADD COLUMN kind TEXT NOT NULL DEFAULT 'run'",
    "ALTER TABLE jobs ADD COLUMN sweep INTEGER",
    "ALTER TABLE jobs ADD COLUMN tries INTEGER NOT NULL DEFAULT 0",
)
BY_SWEEP = "CREATE INDEX IF NOT EXISTS jobs_by_sweep ON jobs (sweep, id)"
SCHEMA = f"""
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
    cancelling INTEGER NOT NULL DEFAULT 0,
    sweep INTEGER,
    tries INTEGER NOT NULL DEFAULT 0
);
PRAGMA user_version = {len(ADDED)};
CREATE INDEX jobs_by_state ON jobs (state, id);
{BY_SWEEP};
"""
# Who waits, with the place of each, the next one first: single jobs as they came, then sweeps. Of those each has one
# run in turn, and the one whose last run began longest ago goes first.
LINE = """
WITH waiting AS (
    SELECT id, sweep, row_number() OVER (PARTITION BY sweep ORDER BY id) AS turn,
        (SELECT max(started_at) FROM jobs AS begun WHERE begun.sweep = jobs.sweep) AS served
    FROM jobs WHERE state = 'queued'
), line AS (
    SELECT id, row_number() OVER (ORDER BY sweep IS NOT NULL, turn, served, id) AS place FROM waiting
)
"""


def create(path: Path) -> None:
    """An empty queue, whole as soon as it has its name: switching to WAL in place may refuse whoever comes second."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{secrets.token_hex(4)}.tmp")
    try:
        with closing(sqlite3.connect(temporary, isolation_level=None)) as db:
            db.execute("PRAGMA journal_mode = WAL")
            db.executescript(SCHEMA)
        with suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def bring_up_to_date(db: sqlite3.Connection) -> None:
    """A queue that an earlier version left; of two processes that come at once, the second changes nothing."""
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version < len(ADDED):
        for change in ADDED[version:]:
            with suppress(sqlite3.OperationalError):  # the other was first
                db.execute(change)
        db.execute(BY_SWEEP)
        db.execute(f"PRAGMA user_version = {len(ADDED)}")
