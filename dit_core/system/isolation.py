"""Run a function in a process of its own and return its result, or raise why there is none. Imports no torch.

Processes come from `multiprocessing`. A fork server, which has done the imports and computed nothing, makes a process
in milliseconds; the method "spawn" starts a new interpreter, which takes seconds, and replaces the fork server where
forks are not safe: outside Linux, or if an import has initialized CUDA. However a process ends, all that it started
ends too, and it ends when its parent does. A process that calls `run` itself uses the server that it was forked from.
"""

import gc
import os
import pickle
import secrets
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from concurrent import futures
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing import forkserver, get_context, spawn
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Literal

from dit_core.system.processes import MARK, NAME, end_family, isolate, lives

Method = Literal["forkserver", "spawn"]
POLL_S, WAIT_S = 0.2, 10.0
_CODE = Path(__file__).resolve().parents[1]


class Failed(RuntimeError):
    """The function has no result. The message is the reason in one line."""


class TimedOut(Failed):
    """The function ran longer than its limit, so its process was ended."""


class Killed(Failed):
    """The signal `number` ended the process; SIGKILL usually means that memory ran out."""

    def __init__(self, number: int) -> None:
        super().__init__(f"its process was ended by a signal: {signal.strsignal(number) or number}")
        self.number = number


class _NoFork(Exception):
    """The fork server cannot make a process for this call."""


@dataclass(frozen=True)
class _Call:
    """What a new process does. `work` is pickled, so that its modules are imported after the process is set up."""

    work: bytes
    name: str
    output: Path | None
    environment: dict[str, str]
    method: Method


_Answer = bytes | Exception  # the pickled result, or why there is none
_own: _Call | None = None  # the call that this process was started for; None if `run` did not start it


def run(
    function: Callable[..., Any],
    *args: Any,
    limit_s: float = float("inf"),
    watch: Callable[[], None] = lambda: None,
    poll_s: float = POLL_S,
    log: Path | None = None,
    show_output: bool = False,
    method: Method = "forkserver",
    environment: Mapping[str, str] | None = None,
) -> Any:
    """Return `function(*args)`, computed in a process of its own; function, arguments and result must be picklable.

    `watch` is called every `poll_s` seconds; what it raises ends the process and is passed on. Output goes to the file
    `log`, with `show_output` to standard error, else to a temporary file. `environment` adds variables.

    Raises Failed if the function raised or its process ended early, Killed, TimedOut, and OSError if no process starts.
    """
    token = secrets.token_urlsafe(3)  # 4 characters
    until = time.monotonic() + limit_s

    def check() -> None:
        watch()
        if time.monotonic() > until:
            raise TimedOut(f"it ran longer than its limit of {limit_s:g} s")

    with tempfile.TemporaryDirectory(prefix="dit-core-") as folder:
        name, shown = (_own.name, _own.output) if _own else (NAME, None)
        output = shown if show_output else log or Path(folder) / "output.txt"
        mark = f"{os.environ.get(MARK, os.getpid())}/{token}"
        variables = {**os.environ, **(environment or {}), MARK: mark}
        call = _Call(pickle.dumps((function, args)), name + token, output, variables, method)
        answer: _Answer | None = None
        if method == "forkserver" and _server.warm(*_server.modules):
            with suppress(_NoFork):
                answer = _converse(call, check, poll_s)
        if answer is None:
            answer = _converse(replace(call, method="spawn"), check, poll_s)
    if isinstance(answer, Exception):
        raise answer
    return pickle.loads(answer)


class _Server:
    """The fork server, of which `multiprocessing` has one in each process."""

    def __init__(self) -> None:
        self.modules: tuple[str, ...] = ()
        self.code: tuple[int, int] | None = None
        self.allowed = sys.platform == "linux"
        self.joined = False  # whether this process is a fork of the server, and so neither starts nor ends one

    def warm(self, *modules: str) -> bool:
        """Have a server that imports modules, of the present code; return at once. False if it cannot be used here."""
        if self.allowed and not self.joined and not (self.is_warm(*modules) and self.code == _newest_code()):
            self.stop()
            self.modules, self.code = modules, _newest_code()
            forkserver.set_forkserver_preload(["dit_core.system.server_setup", *modules])
            forkserver.ensure_running()
        return self.allowed

    def is_warm(self, *modules: str) -> bool:
        """Whether the server lives and imports these modules."""
        return lives(forkserver._forkserver._forkserver_pid) and set(modules) <= set(self.modules)  # type: ignore

    def stop(self) -> None:
        """End the server, if this process started one."""
        if (pid := forkserver._forkserver._forkserver_pid) is not None:  # type: ignore[attr-defined]
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
                forkserver._forkserver._stop()  # type: ignore[attr-defined]


_server = _Server()
warm, is_warm, stop = _server.warm, _server.is_warm, _server.stop


def _converse(call: _Call, check: Callable[[], None], poll_s: float) -> _Answer:
    """Start a process for a call and return its answer. Nothing of the process is left. Raises _NoFork."""
    context = get_context(call.method)
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_main, args=(there, call), name=call.name)
    with here:
        try:
            with there:
                _start(process, call, check)
            while not wait([here, process.sentinel], poll_s):
                check()
            with suppress(EOFError, OSError):
                if here.poll():
                    answer = here.recv()
                    if isinstance(answer, _NoFork):
                        _server.allowed = False
                        stop()
                        raise answer
                    return answer
            process.join(POLL_S)
        finally:
            code = process.exitcode if process.pid else None
            end_family(call.environment[MARK], process)
            if process.pid:
                process.kill()
                process.join(WAIT_S)
    if code == 255 and call.method == "forkserver" and not is_warm():
        code = -signal.SIGKILL  # the server was killed, and the process with it
    return Killed(-code) if code and code < 0 else Failed(_last_line(call.output) or f"exit code {code}")


def _start(process: BaseProcess, call: _Call, check: Callable[[], None]) -> None:
    """Start a process. A fork server that still imports answers late, so `check` goes on; _NoFork if it ended."""
    if call.method == "spawn":
        return process.start()  # in this thread, with which the process ends
    with futures.ThreadPoolExecutor(1) as pool:
        started = pool.submit(process.start)
        try:
            while not futures.wait([started], POLL_S).done:
                check()
        except BaseException:
            stop()  # the thread then stops waiting for it
            raise
    if isinstance(started.exception(), OSError | EOFError):
        raise _NoFork
    started.result()


def _preparation_data(name: str, prepare: Callable[[str], dict[str, Any]] = spawn.get_preparation_data) -> Any:
    """Keep `multiprocessing` from running the main module again in our processes: under Streamlit it is a page."""
    data = prepare(name)
    return {key: data[key] for key in data if not (name.startswith(NAME) and key.startswith("init_main"))}


spawn.get_preparation_data = _preparation_data


def _main(connection: Connection, call: _Call) -> None:
    """Set up the new process, call the function and send what came of it."""
    global _own
    _own = call
    os.environ.clear()
    os.environ.update(call.environment)
    isolate(call.name)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _redirect(call.output)
    if call.method == "forkserver":
        _server.joined = True
        forkserver._forkserver.ensure_running = lambda: None  # type: ignore[attr-defined]  (it would start another)
        gc.freeze()  # a collection would write to the pages that are shared with the server, and so copy them
    connection.send(_NoFork() if _server.joined and _cuda_is_lost() else _answer(call.work))
    os._exit(0)


def _answer(work: bytes) -> _Answer:
    try:
        function, args = pickle.loads(work)
        return pickle.dumps(function(*args))
    except SystemExit as error:
        return Failed(error.code if isinstance(error.code, str) else f"exit code {error.code or 0}")
    except BaseException as error:
        traceback.print_exc()
        message = (str(error).strip().splitlines() or [""])[0][:300]
        return Failed(f"{type(error).__name__}: {message}".rstrip(": "))


def _redirect(output: Path | None) -> None:
    """Send standard output and standard error to a file, or both to standard error."""
    target = 2 if output is None else os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for number, stream in ((1, sys.stdout), (2, sys.stderr)):
        os.dup2(target, number)
        stream.reconfigure(write_through=True)  # type: ignore[union-attr]  (a crash loses what is in a buffer)


def _cuda_is_lost() -> bool:
    """Whether the fork server asked CUDA for devices, after which a fork of it cannot use them."""
    torch = sys.modules.get("torch")
    return bool(torch) and torch.cuda._is_in_bad_fork() and torch.cuda.device_count() > 0


def _newest_code() -> tuple[int, int]:
    """How many source files the program has and when the newest was written (ns): changes with any of them."""
    times = [path.stat().st_mtime_ns for path in _CODE.rglob("*.py")]
    return len(times), max(times)


def _last_line(output: Path | None) -> str:
    """The last line of the output that is not empty, at most 300 characters."""
    lines: list[str] = []
    with suppress(OSError):
        lines = output.read_text(errors="replace").splitlines() if output else []
    return next(filter(None, map(str.strip, reversed(lines))), "")[:300]
