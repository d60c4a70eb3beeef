"""Run a function in a process of its own and return its result, or raise why there is none. Imports no torch.

Processes come from `multiprocessing`. A fork server, which has done the imports and computed nothing, makes a process
in milliseconds; the method "spawn" starts a new interpreter, which takes seconds, and replaces the fork server where
forks are not safe: outside Linux, or if an import has initialized CUDA. However a process ends, all that it started
ends too, and it ends when its parent does. If it calls `run` itself, its parent does that, with the same server.

The shape is that of asv's runner (one `Spawner` interface for new interpreters and a fork server) and of
optimum-benchmark's process launcher.
"""

import gc
import math
import os
import pickle
import secrets
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from concurrent import futures
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import forkserver, get_context, spawn
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from threading import Lock
from typing import Any, Literal

from dit_core.system.processes import MARK, end_family, isolate

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
        super().__init__(number)
        self.number = number

    def __str__(self) -> str:
        return f"its process was ended by a signal: {signal.strsignal(self.number) or self.number}"


class _NoFork(Exception):
    """The fork server cannot make a process for this call."""


class _Withdrawn(Exception):
    """The process that asked its parent for a call no longer waits for the answer."""


@dataclass(frozen=True)
class _Call:
    """What a new process does. `work` is pickled, so that its modules are imported after the process is set up."""

    work: bytes
    method: Method
    output: Path | None
    environment: dict[str, str]


@dataclass(frozen=True)
class _Parent:
    """Where a process that `run` started reaches its parent, and the file that its output goes to."""

    connection: Connection
    output: Path | None


_Answer = bytes | Exception  # the pickled result, or why there is none
_parent: _Parent | None = None  # None in a process that `run` did not start
_asking = Lock()


def run(
    function: Callable[..., Any],
    *args: Any,
    limit_s: float = math.inf,
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
    mark = f"{os.environ.get(MARK, os.getpid())}/{secrets.token_hex(4)}"
    variables = {**os.environ, **(environment or {}), MARK: mark}
    until = time.monotonic() + limit_s

    def check() -> None:
        watch()
        if time.monotonic() > until:
            raise TimedOut(f"it ran longer than its limit of {limit_s:g} s")

    with tempfile.TemporaryDirectory(prefix="dit-core-") as folder:
        shown = _parent.output if _parent else None
        output = shown if show_output else log or Path(folder) / "output.txt"
        call = _Call(pickle.dumps((function, args)), method, output, variables)
        answer = _ask(_parent.connection, call, check, poll_s) if _parent else _serve(call, check, poll_s)
    if isinstance(answer, Exception):
        raise answer
    return pickle.loads(answer)


def _ask(parent: Connection, call: _Call, check: Callable[[], None], poll_s: float) -> _Answer:
    """Have the parent serve a call. If `check` raises, wait until the parent has ended the process."""
    with _asking:
        parent.send(call)
        try:
            while not parent.poll(poll_s):
                check()
        except BaseException:
            parent.send(_Withdrawn())
            parent.recv()
            raise
        return parent.recv()


def _serve(call: _Call, check: Callable[[], None], poll_s: float) -> _Answer:
    """Return the answer of a new process to a call. Raises what `check` raises, and OSError if no process starts."""
    if call.method == "forkserver" and _server.refresh():
        with suppress(_NoFork):
            return _converse("forkserver", call, check, poll_s)
    return _converse("spawn", call, check, poll_s)


class _Server:
    """The fork server, of which `multiprocessing` has one in each process."""

    def __init__(self) -> None:
        self.modules: tuple[str, ...] = ()
        self.code: tuple[int, int] | None = None
        self.allowed = sys.platform == "linux"

    def warm(self, *modules: str) -> None:
        """Start the server and let it import modules; return at once. It lives until `stop` or this process ends.

        A process that `run` started uses the server of its parent, and starts none.
        """
        if self.allowed and _parent is None and not self.is_warm(*modules):
            self.stop()
            self.modules, self.code = modules, _newest_code()
            forkserver.set_forkserver_preload(["dit_core.system.server_setup", *modules])
            forkserver.ensure_running()

    def refresh(self) -> bool:
        """Have a server that imported the code of today; False if this process cannot use one."""
        if self.code != _newest_code():
            self.stop()
        self.warm(*self.modules)
        return self.allowed

    def is_warm(self, *modules: str) -> bool:
        """Whether the server lives and imports these modules."""
        return self.lives() and set(modules) <= set(self.modules)

    def lives(self) -> bool:
        pid = forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]
        with suppress(ChildProcessError):
            return pid is not None and os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
        return False

    def stop(self) -> None:
        """End the server, if there is one."""
        if (pid := forkserver._forkserver._forkserver_pid) is not None:  # type: ignore[attr-defined]
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
            with suppress(OSError):
                forkserver._forkserver._stop()  # type: ignore[attr-defined]


_server = _Server()
warm, is_warm, stop = _server.warm, _server.is_warm, _server.stop


def _converse(method: Method, call: _Call, check: Callable[[], None], poll_s: float) -> _Answer:
    """Start a process for a call, serve its own calls, and return its answer. Nothing of the process is left."""
    here, there = get_context(method).Pipe()
    process = get_context(method).Process(target=_main, args=(method, there, call))

    def check_all() -> None:
        check()
        if wait([here, process.sentinel], 0):  # the process withdrew its call, or ended
            raise _Withdrawn

    def serve(nested: _Call) -> _Answer:
        try:
            return _serve(nested, check_all, poll_s)
        except (_Withdrawn, OSError) as error:
            return error

    with here:
        try:
            with there:
                _start(process, method, check)
            while (message := _receive(here, process, check, poll_s)) is not None:
                if isinstance(message, _NoFork):
                    stop()
                    _server.allowed = False
                    raise message
                if isinstance(message, _Call):
                    with suppress(OSError):
                        here.send(serve(message))
                elif not isinstance(message, _Withdrawn):  # else its answer was already on the way
                    return message
            process.join(POLL_S)
        finally:
            code = _end(process, call.environment[MARK])
    if code == 255 and method == "forkserver" and not _server.lives():
        return Killed(signal.SIGKILL)  # the server was killed, and the process with it
    if code is not None and code < 0:
        return Killed(-code)
    return Failed(_last_line(call.output) or f"exit code {code}")


def _receive(here: Connection, process: BaseProcess, check: Callable[[], None], poll_s: float) -> Any:
    """Return the next message of a process; None if it ended without one."""
    while not wait([here, process.sentinel], poll_s):
        check()
    with suppress(EOFError, OSError):
        return here.recv() if here.poll() else None


def _start(process: BaseProcess, method: Method, check: Callable[[], None]) -> None:
    """Start a process. A fork server that still imports answers late: `check` goes on meanwhile.

    Raises _NoFork if the fork server ended.
    """
    with futures.ThreadPoolExecutor(1) as pool, _no_main_module():
        if method == "spawn":  # in this thread, with which the process ends
            return process.start()
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


@contextmanager
def _no_main_module() -> Iterator[None]:
    """Keep `multiprocessing` from running the main module again in the new process: under Streamlit it is a page."""
    prepare = spawn.get_preparation_data

    def without_main(name: str) -> dict[str, Any]:
        return {key: value for key, value in prepare(name).items() if not key.startswith("init_main")}

    spawn.get_preparation_data = without_main
    try:
        yield
    finally:
        spawn.get_preparation_data = prepare


def _end(process: BaseProcess, mark: str) -> int | None:
    """End the process and all that it started; return the exit code if it had ended before."""
    if process.pid is None:
        return None
    code = process.exitcode
    end_family(mark, process.pid)
    if code is None:
        process.kill()
    process.join(WAIT_S)
    return code


def _main(method: Method, connection: Connection, call: _Call) -> None:
    """Set up the new process, call the function and send what came of it."""
    global _parent
    _parent = _Parent(connection, call.output)
    os.environ.clear()
    os.environ.update(call.environment)
    isolate()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _redirect(call.output)
    gc.freeze()  # a collection would write to the pages that are shared with the server, and so copy them
    connection.send(_NoFork() if method == "forkserver" and _cuda_is_lost() else _answer(call.work))
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
    if output is not None:
        with suppress(OSError), output.open("rb") as file:
            file.seek(max(0, output.stat().st_size - 1000))
            lines = file.read().decode(errors="replace").splitlines()
    return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "")
