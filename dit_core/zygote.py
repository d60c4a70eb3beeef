"""A sleeping process with all imports done, from which fresh processes are forked.

Every measurement has a process of its own, and importing torch and diffusers takes each of them seconds. So the process
of a run forks a zygote as soon as its imports are done, and the zygote forks a process for each measurement:

    run ──fork──> zygote (sleeps) ──fork──> times, and ends
                                  ──fork──> measures memory, and ends

Each of them is as fresh as a new interpreter that has imported the same: the zygote computes nothing, so there is no
OpenMP pool, no CUDA context, no weight and no cache to inherit. Where that does not hold, `keep` refuses, and whoever
wants a process starts an interpreter instead. Two things that a fork would share are made its own: where memory lies
(`_move_apart`), which is part of what processes differ by, and which pages of libraries count as resident (`_touch`).

A process dies with its parent, however that ends (prctl(2), PR_SET_PDEATHSIG): killing the zygote ends what it forked.
"""

import ctypes
import gc
import importlib
import mmap
import os
import random
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from dit_core.processes import die_with

_PAGE = mmap.PAGESIZE
_SHIFT_BYTES = 2 << 20  # a huge page
_POPULATE_READ = 22  # madvise(2)
Range = tuple[int, int]  # address and bytes
_kept: "Zygote | None" = None
_unused: list[mmap.mmap] = []


def keep() -> bool:
    """Fork the zygote of this process: after its imports, before it computes. False where that would not be safe."""
    global _kept
    _kept = Zygote() if _is_fresh() else None
    return _kept is not None


def fork(module: str, files: Sequence[int]) -> "Forked | None":
    """Run `main` of a module in a process of the zygote, with these three as its standard streams; None without one."""
    return _kept.fork(module, files) if _kept else None


class Zygote:
    """The sleeping process, which forks one process at a time."""

    def __init__(self) -> None:
        self._line, end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        gc.collect()  # what imports left behind is memory that a model can take, as in a new interpreter
        parent, resident = os.getpid(), _resident()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                _serve(end, parent, resident)
            finally:
                os._exit(1)
        end.close()

    def fork(self, module: str, files: Sequence[int]) -> "Forked | None":
        try:
            socket.send_fds(self._line, [module.encode()], list(files))
        except OSError:
            self.end()
            return None
        return Forked(self, self._line)

    def end(self) -> None:
        """Kill it and what it forked, and wait until both are gone."""
        global _kept
        if _kept is self:
            _kept = None
        with suppress(ProcessLookupError, ChildProcessError):
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        with suppress(OSError):
            self._line.settimeout(5)
            while self._line.recv(32):  # both hold the other end
                pass
        self._line.close()


class Forked:
    """A process of the zygote, used like `subprocess.Popen`."""

    def __init__(self, zygote: Zygote, line: socket.socket) -> None:
        self._zygote, self._line, self.returncode = zygote, line, None

    def wait_for(self, seconds: float) -> int | None:
        """Its exit code as soon as it ends, negative where a signal ended it; None if it has not within this time."""
        if self.returncode is None:
            self._line.settimeout(seconds)
            try:
                told = self._line.recv(32)
            except TimeoutError:
                return None
            self.returncode = int(told or -signal.SIGKILL)  # without a word the zygote itself was killed
            if not told:
                self._zygote.end()
        return self.returncode

    def kill(self) -> None:
        """End it, if it lives, and the zygote with it."""
        if self.returncode is None:
            self._zygote.end()
            self.returncode = -signal.SIGKILL


def _is_fresh() -> bool:
    """Whether this process has one thread and no CUDA, so that a fork of it is whole."""
    torch = sys.modules.get("torch")
    if sys.platform != "linux" or threading.active_count() > 1 or (torch and torch.cuda.is_initialized()):
        return False
    # NumPy and SciPy start idle OpenBLAS threads when they are imported. OpenBLAS ends them before any fork and starts
    # them anew when it needs them; so what is left after the fork of a process that ends at once are other threads.
    # It also tells whether an import has asked CUDA's driver for devices: if there is any, no fork can use it.
    if (child := os.fork()) == 0:
        os._exit(int(bool(torch and torch.cuda._is_in_bad_fork())))
    _, spoilt = os.waitpid(child, 0)
    if torch and spoilt and torch.cuda.is_available():
        return False
    return len(list(Path("/proc/self/task").iterdir())) == 1


def _serve(line: socket.socket, parent: int, resident: list[Range]) -> None:
    """The zygote: fork a process for each request until the parent is gone."""
    die_with(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears it too, and ends what must end
    _become([os.open(os.devnull, os.O_RDWR)] * 3)
    os.closerange(3, line.fileno())
    os.closerange(line.fileno() + 1, os.sysconf("SC_OPEN_MAX"))
    gc.freeze()  # or each collection of a fork would write to, and so copy, all that is shared
    while True:
        module, files, _, _ = socket.recv_fds(line, 256, 3)
        if not module:
            os._exit(0)
        own = os.getpid()
        if (child := os.fork()) == 0:
            die_with(own)
            _become(files)
            _move_apart()
            _touch(resident)
            _run(module.decode())
        for file in files:
            os.close(file)
        line.send(str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])).encode())


def _become(files: Sequence[int]) -> None:
    """Take these as standard streams."""
    for target, file in enumerate(files):
        os.dup2(file, target)
    for file in {file for file in files if file > 2}:
        os.close(file)
    sys.stdin, sys.stdout, sys.stderr = (open(n, mode, closefd=False) for n, mode in enumerate("rww"))  # noqa: SIM115


def _run(module: str) -> None:
    """Run a module's `main` to the end of this process, as an interpreter would."""
    code = 1
    try:
        importlib.import_module(module).main()
        code = 0
    except SystemExit as ending:
        code = ending.code if isinstance(ending.code, int) else int(ending.code is not None)
        if isinstance(ending.code, str):
            print(ending.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _move_apart() -> None:
    """Shift heap and mappings by a random distance that is never touched: forks would all lie at the same addresses."""
    libc, draw = ctypes.CDLL(None), random.Random(os.urandom(8))
    libc.sbrk.argtypes = [ctypes.c_ssize_t]
    libc.sbrk(draw.randrange(0, _SHIFT_BYTES, 64))
    _unused.append(mmap.mmap(-1, draw.randrange(_PAGE, _SHIFT_BYTES, _PAGE)))


def _resident() -> list[Range]:
    """Where pages of files lie in this process's memory: code that it has run, and what was read along."""
    found: list[Range] = []
    with Path("/proc/self/maps").open() as maps, Path("/proc/self/pagemap").open("rb", buffering=0) as pagemap:
        for line in maps:
            span, rights, _, _, inode, *_ = line.split()
            if inode == "0" or "r" not in rights:
                continue
            start, end = (int(one, 16) for one in span.split("-"))
            pagemap.seek(start // _PAGE * 8)
            entries = memoryview(pagemap.read((end - start) // _PAGE * 8)).cast("Q")
            for page, entry in enumerate(entries):
                if entry >> 63:  # present
                    address = start + page * _PAGE
                    if found and sum(found[-1]) == address:
                        found[-1] = (found[-1][0], found[-1][1] + _PAGE)
                    else:
                        found.append((address, _PAGE))
    return found


def _touch(resident: Sequence[Range]) -> None:
    """Make these pages resident here. A fork leaves out pages of files, so the libraries' code, which was resident
    before a model was loaded, would count as memory of the model."""
    libc = ctypes.CDLL(None)
    for address, size in resident:
        libc.madvise(ctypes.c_void_p(address), ctypes.c_size_t(size), _POPULATE_READ)
