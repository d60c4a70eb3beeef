"""How the command line ends: exit codes, one line for every failure, and a log for those that nobody expected."""

import importlib.util
import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from dit_core.errors import BadRequest, Cancelled
from dit_core.jobs.queue import QueueError
from dit_core.records.store import StoreError
from dit_core.system import causes
from dit_core.system.cache import cache_folder
from dit_core.system.files import write_text

FAILED, BAD_REQUEST = 1, 2  # exit codes
KEPT_LOGS = 20
_STATED = (StoreError, QueueError, Cancelled)  # errors whose message is a whole sentence for a user


def guarded(command: Callable[[], int | None]) -> int:
    """Run a command and return its exit code. Every failure becomes one line on standard error."""
    try:
        _open_standard_streams()
        _accept_all_text()
        code = command() or 0
        sys.stdout.flush()
        return code
    except BadRequest as error:
        return say(str(error), BAD_REQUEST)
    except KeyboardInterrupt:
        return say("interrupted")
    except BrokenPipeError:  # the reader of the output has gone away
        _discard(sys.stdout)
        return FAILED
    except SystemExit:
        raise
    except _STATED as error:
        return say(str(error))
    except ModuleNotFoundError as error:
        return say(_missing_library(error), BAD_REQUEST)
    except Exception as error:
        return _unwritable_output(error) or _unexpected(error)


def say(message: str, code: int = FAILED) -> int:
    """Print one line to standard error, if it is open, and return the exit code."""
    try:
        print(f"dit_core: {' '.join(message.split())}", file=sys.stderr, flush=True)
    except (OSError, ValueError, AttributeError):  # closed, full, or there is none
        return code
    return code


def keep_log(error: BaseException) -> Path | None:
    """Write the traceback of an error into the cache and return the file; None if the disk refuses."""
    folder = cache_folder() / "errors"
    path = folder / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.txt"
    text = f"{' '.join(sys.argv)}\nPython {sys.version}\n\n{''.join(traceback.format_exception(error))}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for old in sorted(folder.glob("*.txt"))[: -KEPT_LOGS + 1]:
            old.unlink(missing_ok=True)
        write_text(text, path)
    except OSError:
        return None
    return path


def _unexpected(error: Exception) -> int:
    """Say what went wrong and where the traceback is."""
    if isinstance(error, OSError) and error.filename and error.errno:
        reason = f"{os.fsdecode(error.filename)}: {causes.cause_of(error)}"
    else:
        message = (str(error).strip() or causes.cause_of(error)).splitlines()[0]
        reason = f"{type(error).__name__}: {message[:300]}".removesuffix(f": {type(error).__name__}")
    log = keep_log(error)
    return say(f"{reason.rstrip('.')}." + (f" Details are in {log}." if log else ""))


def _missing_library(error: ModuleNotFoundError) -> str:
    name = (error.name or str(error)).partition(".")[0]
    if name == "dit_core":
        return f"{error}: install the project again."
    requirements = Path(__file__).resolve().parents[2] / "requirements.txt"
    how = f"pip install -r {requirements}" if requirements.is_file() else "pip install --force-reinstall dit-core"
    broken = " is damaged" if _is_installed(name) else " is not installed"
    return f"The library {name}{broken}, which this command needs: {how}"


def _is_installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def _unwritable_output(error: Exception) -> int:
    """Say why standard output takes no more, and return the exit code; 0 if that is not what went wrong."""
    if not isinstance(error, OSError) or error.filename:
        return 0
    try:
        print(flush=True)  # a failed print leaves nothing to flush
    except OSError as again:
        _discard(sys.stdout)
        return say(causes.not_written("The output", again, "send it to another place"))
    return 0


def _open_standard_streams() -> None:
    """Give streams that the caller has closed to nobody, so that no file of this program gets their numbers."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode))


def _accept_all_text() -> None:
    """Print letters that the terminal's encoding lacks as escapes, and never fail for them."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


def _discard(stream: TextIO) -> None:
    """Send what is left in a stream's buffer nowhere, so that Python does not complain of it at its end."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    except (OSError, ValueError, AttributeError):
        return
