"""What the worker asks of the operating system: a lock that dies with its holder, and the end of a process tree."""

import ctypes
import fcntl
import json
import os
import random
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

MARK = "DIT_JOB_OF"  # in the environment of all that a job starts: the queue it belongs to
_PR_SET_PDEATHSIG = 1  # prctl(2)
_NOTE = 80  # bytes; always as many, so that signing needs no new disk block and no reader sees half a note


class Lock:
    """An exclusive lock on a file, with a note of its holder. The system releases it however the holder dies."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)

    def take(self) -> bool:
        """Take the lock; False if somebody has it. Those who look with `holder` at this moment are waited for."""
        while not self._try(fcntl.LOCK_EX):
            if not self._try(fcntl.LOCK_SH):
                return False
            fcntl.flock(self._file, fcntl.LOCK_UN)
            time.sleep(random.uniform(0.001, 0.01))
        note = json.dumps({"pid": os.getpid(), "since": time.time()})
        os.pwrite(self._file, note.ljust(_NOTE).encode(), 0)
        return True

    def holder(self) -> dict[str, Any] | None:
        """`{"pid", "since"}` of the holding process, {} if it has not signed yet; None if nobody holds the lock."""
        if self._try(fcntl.LOCK_SH):
            fcntl.flock(self._file, fcntl.LOCK_UN)
            return None
        with suppress(ValueError):
            return json.loads(os.pread(self._file, _NOTE, 0))
        return {}

    def lost(self) -> bool:
        """The file was deleted or replaced, so that the lock no longer keeps anybody out."""
        try:
            return not os.path.samestat(self.path.stat(), os.fstat(self._file))
        except OSError:
            return True

    def close(self) -> None:
        os.close(self._file)

    def _try(self, kind: int) -> bool:
        try:
            fcntl.flock(self._file, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def die_with(parent: int) -> None:
    """End this process at once when its parent, the thread that started it, ends in any way. Linux alone can."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def available_bytes() -> int:
    """Memory that can be had without swapping; 0 where the system does not tell."""
    with suppress(OSError, ValueError):
        lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        return int(lines.get("MemAvailable", "0").split()[0]) * 1024
    return 0


def end_marked(mark: str, wait_s: float = 5.0) -> None:
    """Kill every process that carries this mark, whatever group or session it moved to, and wait until all are gone.

    The environment is inherited by all descendants; it is read from /proc, which only Linux has.
    """
    until = time.monotonic() + wait_s
    while (found := _marked(mark)) and time.monotonic() < until:
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


def _marked(mark: str) -> list[int]:
    found, entry = [], f"{MARK}={mark}".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if entry in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return found
