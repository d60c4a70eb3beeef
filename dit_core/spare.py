"""A child that an idle worker keeps: its imports, which take seconds, are done before a job comes. Imports no torch."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO

from dit_core.jobs import Job, Queue
from dit_core.processes import available_bytes

NEEDED_BYTES, YIELDED_BYTES = 4 << 30, 3 << 30  # available memory: from which one is started, below which it is ended
PAUSE_S = 300.0  # until one that died is replaced: whatever ended it may end the next
_CODE = Path(__file__).resolve().parent


class Spare:
    """At most one child that waits for a job's id on its standard input.

    `start` begins a child that writes to the given file. What a spare writes until it gets a job becomes the beginning
    of that job's log.
    """

    def __init__(self, queue: Queue, start: Callable[[IO[bytes]], subprocess.Popen]) -> None:
        self._log, self._start = queue.root / "spare.log", start
        self._child: subprocess.Popen | None = None
        self._code: tuple[int, int] | None = None
        self._not_before = 0.0

    def keep(self) -> None:
        """Start one where there is none and memory allows it, end it where memory has become short."""
        if self._child and (self._child.poll() is not None or available_bytes() < YIELDED_BYTES):
            self.end()
        elif not self._child and time.monotonic() >= self._not_before and available_bytes() >= NEEDED_BYTES:
            self._not_before = time.monotonic() + PAUSE_S
            with suppress(OSError), self._log.open("wb") as log:
                self._code = _newest_code()
                self._child = self._start(log)

    def take(self, job: Job, log: Path) -> subprocess.Popen | None:
        """Give the spare this job; None where there is none that lives and was made by the code of now."""
        child, self._not_before = self._child, 0.0
        if child is None or child.poll() is not None or child.stdin is None or self._code != _newest_code():
            self.end()
            return None
        try:
            self._log.replace(log)
            child.stdin.write(f"{job.id}\n".encode())
            child.stdin.flush()
        except OSError:  # it died at this moment
            self.end()
            return None
        self._child = None
        return child

    def end(self) -> None:
        """End the spare and what it started, if there is one."""
        child, self._child = self._child, None
        if child:
            with child:
                if child.poll() is None:
                    os.killpg(child.pid, signal.SIGKILL)


def _newest_code() -> tuple[int, int]:
    """Changes whenever a file of this program does: how many there are, and when the newest was written."""
    times = [path.stat().st_mtime_ns for path in _CODE.rglob("*.py")]
    return len(times), max(times)
