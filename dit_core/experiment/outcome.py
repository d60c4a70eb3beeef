"""How a run ended, in the words of the queue and of sweeps: state, reason and hint. Imports no torch."""

import signal
from typing import NamedTuple

from dit_core.errors import BadRequest, Cancelled
from dit_core.records.store import StoreError
from dit_core.system import isolation
from dit_core.system.processes import SIGKILL

EXPERIMENT = "dit_core.experiment.run"  # what a fork server imports for runs, torch and diffusers included
MEMORY_HINT = "Choose a smaller batch, fewer samples or a smaller model."
MOST_LETTERS = 800  # of a reason: a record that was not saved names two places
LOG_HINT = "See the job's log."
TIME_HINT = "Choose fewer steps or samples, or a longer limit."
_MEMORY_WORDS = ("out of memory", "not enough memory", "can't allocate memory", "cannot allocate memory")


class Ending(NamedTuple):
    """A final state of a job, the reason in one line, and what to change; both may be empty."""

    state: str  # one of `jobs.table.STATES`
    reason: str = ""
    hint: str = ""


def of_error(error: BaseException) -> Ending:
    """The ending of a run that raised this error."""
    message = (str(error).strip().splitlines() or [""])[0][:MOST_LETTERS]
    if isinstance(error, Cancelled):
        return Ending("cancelled", "Cancelled while it ran.")
    if is_out_of_memory(error):
        return Ending("out-of-memory", f"Memory ran out: {message or type(error).__name__}", MEMORY_HINT)
    if isinstance(error, BadRequest | StoreError):
        return Ending("failed", message)
    return Ending("failed", f"{type(error).__name__}: {message}".rstrip(": "), LOG_HINT)


def of_failure(failure: isolation.Failed, limit_s: float) -> Ending:
    """The ending of a run whose process returned no ending of its own."""
    if isinstance(failure, isolation.TimedOut):
        return Ending("timed-out", f"It ran longer than its limit of {limit_s:g} s.", TIME_HINT)
    if isinstance(failure, isolation.Killed) and failure.number == SIGKILL:
        return Ending("out-of-memory", "The system ended it, most likely because memory ran out.", MEMORY_HINT)
    if isinstance(failure, isolation.Killed):
        return Ending("failed", f"A signal ended its process: {signal.strsignal(failure.number)}.", LOG_HINT)
    return Ending("failed", f"Its process ended too early: {failure}", LOG_HINT)


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether memory ran out, on a GPU (torch.OutOfMemoryError), in torch on a CPU (a RuntimeError) or in Python."""
    if error is None:
        return False
    says_so = any(words in str(error).lower() for words in _MEMORY_WORDS)
    is_named_so = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return is_named_so or (says_so and isinstance(error, RuntimeError | OSError)) or is_out_of_memory(error.__cause__)
