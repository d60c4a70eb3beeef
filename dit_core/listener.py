"""Callbacks of a run: progress, previews, notes, and the question whether it was cancelled."""

import sys
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Listener:
    """Five hooks of a run, all optional.

    `progress(stage, step, of)` is called at every step; `preview(which, png)` with "baseline" or "candidate" and a PNG
    of the images forming; `cancelled()` is asked at every step and ends the run with `errors.Cancelled`;
    `note(text)` says in a line what whoever uses the result must know; `estimate(ratio, basis)` is called with each
    first estimate of the speed-up, before it is measured, and with what the estimate is from.
    """

    progress: Callable[[str, int, int], None] = lambda stage, step, of: None
    preview: Callable[[str, bytes], None] = lambda which, png: None
    cancelled: Callable[[], bool] = lambda: False
    note: Callable[[str], None] = lambda text: None
    estimate: Callable[[float, str], None] = lambda ratio, basis: None


def show_progress(stage: str, step: int, of: int) -> None:
    """One line on standard error that overwrites itself on a terminal."""
    end = "\r" if sys.stderr.isatty() and step < of else "\n"
    if sys.stderr.isatty() or step == of:
        print(f"{stage}: {step} of {of}".ljust(60), file=sys.stderr, end=end, flush=True)
