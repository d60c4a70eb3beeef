"""Functions that tests run in a process of their own."""

import ctypes
import mmap
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from dit_core.system import isolation


def describe() -> dict[str, Any]:
    """What there is in this process."""
    print("a library prints")
    process = psutil.Process()
    return {
        "pid": process.pid,
        "session": os.getsid(0),
        "server": process.ppid(),
        "threads": process.num_threads(),
        "modules": set(sys.modules),
        "variables": dict(os.environ),
        "oom_score_adj": int(Path("/proc/self/oom_score_adj").read_text()),
        "interrupt": signal.getsignal(signal.SIGINT) == signal.default_int_handler,
    }


def describe_nested() -> dict[str, Any]:
    return isolation.run(describe)


def addresses() -> tuple[int, int]:
    """Where a tensor on the heap and a mapped tensor lie in a timing process that inherited a gap of 30 huge pages."""
    import torch

    from dit_core.measure import timing_process

    mapping = mmap.mmap(-1, (60 << 20) + mmap.PAGESIZE)
    mapping.resize(mmap.PAGESIZE)
    timing_process._shift_addresses()
    return torch.empty(20_000).data_ptr(), torch.empty(10_000_000).data_ptr()


def add(a: int, b: int) -> int:
    return a + b


def large(size: int) -> bytes:
    return bytes(size)


def fail() -> None:
    raise ValueError("wrong\nand more")


def exit_with(code: Any) -> None:
    raise SystemExit(code)


def leave(words: str) -> None:
    print(words)
    os._exit(3)


def kill_itself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def crash() -> None:
    ctypes.string_at(0)


def kill_server() -> None:
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(600)


def unpicklable() -> Any:
    return lambda: None


def hang(note: Path) -> None:
    """Hang inside a library call, with three descendants, two of them in other sessions; note all processes."""
    sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
    child = subprocess.Popen(sleep)
    runaway = subprocess.Popen(sleep, start_new_session=True)
    if (fork := os.fork()) == 0:
        os.setsid()
        time.sleep(600)
    note.write_text(f"{os.getpid()} {child.pid} {runaway.pid} {fork} .")
    ctypes.PyDLL(None).sleep(600)  # holds the interpreter's lock: no thread of Python runs meanwhile


def hang_nested(note: Path) -> None:
    """Have another process hang; note this one in a second file."""
    note.with_suffix(".middle").write_text(str(os.getpid()))
    isolation.run(hang, note)


def withdraw_nested(note: Path) -> int:
    """Give up a nested call, and return the result of another one."""

    def watch() -> None:
        if note.exists() and note.read_text().endswith("."):
            raise KeyError

    with suppress(KeyError):
        isolation.run(hang, note, watch=watch, poll_s=0.01)
    return isolation.run(add, 1, 2)


def fail_nested(function: str, method: isolation.Method) -> tuple[str, str]:
    """The class and the message of the failure of a nested call."""
    try:
        isolation.run(globals()[function], method=method)
    except isolation.Failed as error:
        return type(error).__name__, str(error)
    raise AssertionError


def wait_for(note: Path) -> None:
    """Hang without descendants."""
    note.write_text(f"{os.getpid()} .")
    time.sleep(600)
