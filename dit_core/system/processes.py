"""End a process with everything that it started, and let a process end with its parent. Imports no torch."""

import ctypes
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing.connection import wait
from pathlib import Path

import psutil

MARK = "DIT_ISOLATED"  # environment variable that descendants inherit; marks nest like paths: `parent/child`
SIGKILL = getattr(signal, "SIGKILL", signal.SIGTERM)  # Windows has one signal, which cannot be caught
_PR_SET_PDEATHSIG = 1  # prctl(2)


def end_family(mark: str, session: int | None = None, wait_s: float = 5.0) -> None:
    """Kill all processes that carry a mark or belong to a session, and wait until they are gone.

    They are found by the environment that they inherited, whatever session they moved to, by their session, and by
    descent from the leader of the session while it lives.
    """
    until = time.monotonic() + wait_s
    family = set(_family(mark, session))
    while (living := set(filter(_lives, family))) and time.monotonic() < until:
        for process in living:
            with suppress(psutil.Error):
                process.kill()
        time.sleep(0.01)
        family = living | set(_family(mark, session))


def _family(mark: str, session: int | None) -> Iterator[psutil.Process]:
    if session is not None:
        with suppress(psutil.Error):
            yield from psutil.Process(session).children(recursive=True)
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            is_marked = f"{process.environ().get(MARK, '')}/".startswith(f"{mark}/")
            if not is_marked and (session is None or not hasattr(os, "getsid") or os.getsid(process.pid) != session):
                continue
            if process.pid != os.getpid():
                yield process


def _lives(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.status() != psutil.STATUS_ZOMBIE
    return False


def isolate() -> None:
    """Move this process to a session of its own that ends as soon as the parent process ends, however that ends.

    When memory runs out, Linux kills the processes of this session first.
    """
    with suppress(AttributeError, OSError):  # not on Windows, and not twice
        os.setsid()
    end_first_without_memory()
    end_with_starter()
    if parent := multiprocessing.parent_process():
        ready = threading.Event()
        threading.Thread(target=_end_after, args=(parent.sentinel, ready), daemon=True).start()
        ready.wait()


def end_with_starter() -> None:
    """Let the kernel kill this process when the thread that started it ends; only Linux can do this.

    No interpreter needs to run for it, so it also ends a process that hangs inside a library call.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, SIGKILL)


def end_first_without_memory() -> None:
    """Make this process and its descendants the first that Linux kills when memory runs out."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def _end_after(sentinel: int, ready: threading.Event) -> None:
    bytearray(
        1 << 12
    )  # a thread's first allocation maps a heap of its own: not while a timing process moves its memory
    ready.set()
    wait([sentinel])
    if hasattr(os, "killpg") and os.getpgrp() == os.getpid():
        os.killpg(0, SIGKILL)
    os._exit(1)
