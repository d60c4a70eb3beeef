"""One run in a fresh process group with a time limit. What the process does is in `dit_core.search.one`."""

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dit_core import child
from dit_core.processes import MARK, end_marked
from dit_core.spec import RunSpec

COMMAND = (sys.executable, "-m", "dit_core.search.one")
LIMIT_S = 7200.0
_HOME = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Outcome:
    """How a run ended: `state` is "done", "failed", "out-of-memory" or "timed-out", with the reason in one line."""

    state: str
    reason: str = ""
    seconds: float = 0.0

    @property
    def done(self) -> bool:
        return self.state == "done"


Measure = Callable[[RunSpec, Path | None], Outcome]


def measure(
    spec: RunSpec,
    out: Path | None = None,
    *,
    limit_s: float = LIMIT_S,
    threads: int | None = None,
    command: Sequence[str] = COMMAND,
) -> Outcome:
    """Measure a run, known or not, and put its record into the folder `out`, or without one where this machine's are.

    After `limit_s` seconds the process and all that it started are ended. `threads` is told to OpenMP.
    """
    mark = f"{os.getpid()}-{secrets.token_hex(4)}"
    order = json.dumps({"spec": spec.to_dict(), "out": str(out.resolve()) if out else None})
    given = {MARK: mark, **({"OMP_NUM_THREADS": str(threads)} if threads else {})}
    started = time.monotonic()
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "start_new_session": True}
    with subprocess.Popen([*command, order], env=environ(**given), **pipes) as process:
        try:
            process.wait(limit_s)
        except subprocess.TimeoutExpired:
            return Outcome("timed-out", f"It ran longer than its limit of {limit_s:g} s.", time.monotonic() - started)
        finally:
            _end(process, mark)
        told = process.stdout.read() if process.stdout else b""
    return Outcome(*_ending(told, process.returncode), seconds=time.monotonic() - started)


def environ(**given: str) -> dict[str, str]:
    """The variables of this process and the given ones, with this project on Python's path."""
    path = os.pathsep.join(filter(None, [str(_HOME), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path, **given}


def as_data(spec: RunSpec, outcome: Outcome) -> dict[str, Any]:
    """An outcome with the run that it belongs to, as plain data."""
    return {"run_id": spec.run_id, "label": spec.label(), **asdict(outcome), "spec": spec.to_dict()}


def _end(process: subprocess.Popen, mark: str) -> None:
    """End the process, if it still lives, and whatever it started."""
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    end_marked(mark)


def _ending(told: bytes, code: int) -> tuple[str, str]:
    with suppress(ValueError, KeyError, TypeError):
        ending = json.loads(told)
        return ending["state"], ending["reason"]
    return child.ended(code, f"exit code {code}.")[:2]
