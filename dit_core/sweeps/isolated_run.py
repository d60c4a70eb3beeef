"""One run of a sweep in a process of its own, with a time limit."""

import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dit_core.errors import BadRequest
from dit_core.experiment import outcome
from dit_core.listener import Listener, show_progress
from dit_core.records.spec import RunSpec
from dit_core.records.store import Store
from dit_core.system import isolation

LIMIT_S = 7200.0


@dataclass(frozen=True)
class Outcome:
    """End of a run: `state` is "done", "failed", "out-of-memory" or "timed-out"; `reason` is one line."""

    state: str
    reason: str = ""
    seconds: float = 0.0

    @property
    def done(self) -> bool:
        return self.state == "done"


Measure = Callable[[RunSpec, Path | None], Outcome]
RunFunction = Callable[[RunSpec, Path | None], outcome.Ending]


def run_here(spec: RunSpec, out: Path | None) -> outcome.Ending:
    """Measure a run in this process and put its record into the folder `out`, or into this machine's results."""
    try:
        from dit_core.experiment.run import run  # imports torch

        run(spec, store=Store(out), listener=Listener(progress=show_progress), again=True, local=out is None)
    except Exception as error:
        if not isinstance(error, BadRequest):
            traceback.print_exc()
        return outcome.of_error(error)
    return outcome.Ending("done")


def measure(
    spec: RunSpec, out: Path | None = None, *, limit_s: float = LIMIT_S, function: RunFunction = run_here
) -> Outcome:
    """Measure a run with `function` in a process of its own, which ends after `limit_s` seconds."""
    started = time.monotonic()
    folder = out.resolve() if out else None
    isolation.warm(outcome.EXPERIMENT)
    try:
        ending = isolation.run(function, spec, folder, limit_s=limit_s, show_output=True)
    except isolation.Failed as error:
        ending = outcome.of_failure(error, limit_s)
    return Outcome(ending.state, ending.reason, time.monotonic() - started)


def as_data(spec: RunSpec, outcome: Outcome) -> dict[str, Any]:
    """Return an outcome and its run as plain data."""
    return {"run_id": spec.run_id, "label": spec.label(), **asdict(outcome), "spec": spec.to_dict()}
