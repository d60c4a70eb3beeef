"""End a process with everything that it started, and let a process end with its parent. Imports no torch.

Programs inherit the environment variable MARK, forks the name of their process. Both nest: a mark is `parent/child`,
and the name of a child begins with its parent's.
"""

import ctypes
import multiprocessing
import os
import signal
import threading
import time
from contextlib import suppress
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path

import psutil

MARK, NAME = "DIT_ISOLATED", "dit"
SIGKILL = getattr(signal, "SIGKILL", signal.SIGTERM)  # Windows has one signal, which cannot be caught


def end_family(mark: str, leader: BaseProcess | None = None, wait_s: float = 5.0) -> None:
    """Kill all processes that carry a mark, and wait until they are gone.

    With the `leader` of a session, also all that descend from it or have its session or its name, as it has itself.
    """
    until = time.monotonic() + wait_s
    while (family := _family(mark, leader)) and time.monotonic() < until:
        for process in family:
            with suppress(psutil.Error):
                process.kill()
        time.sleep(0.01)


def _family(mark: str, leader: BaseProcess | None) -> list[psutil.Process]:
    pid, descendants, family = leader.pid if leader else None, [], []
    with suppress(psutil.Error):
        descendants = psutil.Process(pid).children(recursive=True) if pid else []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            belongs = f"{process.environ().get(MARK, '')}/".startswith(f"{mark}/") or process in descendants
            if leader and pid and not belongs:
                belongs = process.name().startswith(leader.name[:15])  # Linux keeps 15 letters
                belongs |= hasattr(os, "getsid") and os.getsid(process.pid) == pid
            if belongs and process.pid != os.getpid() and lives(process.pid):
                family.append(process)
    return family


def lives(pid: int | None) -> bool:
    """Whether a process exists and is more than an exit status that nobody has read."""
    with suppress(psutil.NoSuchProcess):
        return pid is not None and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def isolate(name: str) -> None:
    """Name this process and move it to a session of its own, which ends with the parent and first without memory."""
    with suppress(AttributeError, OSError):  # not on Windows, and not twice
        os.setsid()
    end_first(name)
    if parent := multiprocessing.parent_process():
        ready = threading.Event()
        threading.Thread(target=_end_after, args=(parent.sentinel, ready), daemon=True).start()
        ready.wait()


def end_first(name: str) -> None:
    """Let Linux kill this process with the thread that started it, even in a library call, and first without memory."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, SIGKILL)  # PR_SET_PDEATHSIG
        Path("/proc/self/comm").write_text(name)
        Path("/proc/self/oom_score_adj").write_text("1000")


def _end_after(sentinel: int, ready: threading.Event) -> None:
    bytearray(1 << 12)  # the first allocation maps a heap for this thread: not while a process moves its memory
    ready.set()
    wait([sentinel])
    if hasattr(os, "killpg") and os.getpgrp() == os.getpid():
        os.killpg(0, SIGKILL)
    os._exit(1)
