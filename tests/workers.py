"""Workers of fake jobs as processes of their own, and helpers to wait for processes."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

import psutil
import pytest

from dit_core.system.processes import MARK, lives

REPOSITORY = Path(__file__).resolve().parents[1]
PATIENCE_S = 60.0


def start_no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep every module of the dashboard from starting a worker."""
    for module in _starters():
        monkeypatch.setattr(f"{module}.ensure_worker", lambda queue: None)


@cache
def _starters() -> list[str]:
    """The modules of the dashboard that can start a worker."""
    paths = [path for path in (REPOSITORY / "dit_core" / "ui").rglob("*.py") if "ensure_worker" in path.read_text()]
    return [".".join(path.relative_to(REPOSITORY).with_suffix("").parts) for path in paths]


@contextmanager
def processes() -> Iterator[Callable[[], subprocess.Popen]]:
    """A function that starts such a worker; all workers are killed at the end."""
    started: list[subprocess.Popen] = []

    def start() -> subprocess.Popen:
        command = [sys.executable, "-m", "tests.fake_job"]
        started.append(subprocess.Popen(command, cwd=REPOSITORY, start_new_session=True))
        return started[-1]

    yield start
    for worker in started:
        worker.kill()
        worker.wait()


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, "the condition never held"
        time.sleep(0.02)


def marked(mark: str) -> list[int]:
    """Processes whose environment at their start had this isolation mark, or one below it."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if f"{process.environ().get(MARK, '')}/".startswith(f"{mark}/") and lives(process.pid):
                found.append(process.pid)
    return found
