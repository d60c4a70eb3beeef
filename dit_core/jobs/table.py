"""The SQLite table of the queue: its columns, the order in which jobs run, and changes to tables of older versions."""

import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from dit_core.system.files import new_file

STATES = ("queued", "running", "done", "failed", "cancelled", "out-of-memory", "timed-out")
ADDED = (  # columns that later versions added, oldest first
    "ALTER TABLE jobs ADD COLUMN kind TEXT NOT NULL DEFAULT 'run'",
    "ALTER TABLE jobs ADD COLUMN sweep INTEGER",
    "ALTER TABLE jobs ADD COLUMN tries INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE jobs ADD COLUMN owner TEXT NOT NULL DEFAULT ''",
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
    tries INTEGER NOT NULL DEFAULT 0,
    owner TEXT NOT NULL DEFAULT ''
);
PRAGMA user_version = {len(ADDED)};
CREATE INDEX jobs_by_state ON jobs (state, id);
{BY_SWEEP};
"""
# Waiting jobs with their places in the line: first single jobs in the order in which they were submitted, then sweeps.
# Sweeps take turns run by run; the sweep whose last run began longest ago is next.
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
    """Create an empty queue, complete as soon as it has its name: a later switch to WAL could fail."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        suppress(FileExistsError),
        new_file(path) as temporary,
        closing(sqlite3.connect(temporary, isolation_level=None)) as db,
    ):
        db.execute("PRAGMA journal_mode = WAL")
        db.executescript(SCHEMA)


def bring_up_to_date(db: sqlite3.Connection) -> None:
    """Add what an older version's table lacks. If two processes do it at once, the second changes nothing."""
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version < len(ADDED):
        for change in ADDED[version:]:
            with suppress(sqlite3.OperationalError):  # another process was first
                db.execute(change)
        db.execute(BY_SWEEP)
        db.execute(f"PRAGMA user_version = {len(ADDED)}")
