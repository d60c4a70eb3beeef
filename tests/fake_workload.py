"""Workloads that need no model, for timings and memory readings in other processes."""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from dit_core.measure import Calls
from dit_core.records.spec import RunSpec


@dataclass(frozen=True)
class Sleeping:
    """Both sides only wait."""

    spec: RunSpec = field(default_factory=RunSpec)

    def load(self) -> Calls:
        candidate = (lambda: time.sleep(0.02)) if self.spec.techniques else None
        return Calls(lambda: time.sleep(0.02), candidate)

    def load_candidate(self) -> Callable[[], None]:
        return lambda: time.sleep(0.02)


@dataclass(frozen=True)
class Allocating:
    """Loads `loaded` bytes and needs `peak` more while it generates."""

    loaded: int
    peak: int
    spec: RunSpec = field(default_factory=RunSpec)

    def load(self) -> Calls:
        raise AssertionError("the baseline is not part of the candidate's peak")

    def load_candidate(self) -> Callable[[], None]:
        kept = b"x" * self.loaded

        def generate() -> None:
            _ = kept, b"x" * self.peak

        return generate


@dataclass(frozen=True)
class Failing:
    """Fails while it loads: `how` is "exit", "kill", "raise" or "hang", which writes its process id to `note`."""

    how: str
    note: Path | None = None
    spec: RunSpec = field(default_factory=RunSpec)

    def load(self) -> Calls:
        if self.how == "exit":
            raise SystemExit("no memory is left")
        if self.how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.how == "raise":
            raise ValueError("wrong")
        if self.note:
            self.note.write_text(f"{os.getpid()} ")
        time.sleep(600)
        raise AssertionError("unreachable")

    def load_candidate(self) -> Callable[[], None]:
        return self.load().baseline
