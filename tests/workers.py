"""Workers of fake runs as processes of their own, and patience with them."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
PATIENCE_S = 60.0


@contextmanager
def processes() -> Iterator[Callable[[], subprocess.Popen]]:
    """What starts such a worker; all that it started are killed at the end."""
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
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.02)
