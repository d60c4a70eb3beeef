"""Sweeps: what a grid file asks for and the store does not hold, one run after another."""

import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from dit_core.search import apart, failures
from dit_core.search.apart import Measure, Outcome
from dit_core.search.grid import read_grid
from dit_core.spec import RunRecord, RunSpec
from dit_core.store import Store, is_current

Ended = Iterator[tuple[RunSpec, Outcome]]


def sweep(
    path: Path,
    *,
    out: Path | None = None,
    again: bool = False,
    front: int = 0,
    limit_s: float = apart.LIMIT_S,
    progress: Callable[[str, int, int], None] = lambda stage, step, of: None,
    measure: Measure | None = None,
) -> dict[str, list[str]]:
    """Measure what the store does not hold; returns the run ids `measured`, `known` and `failed`.

    With `front`, the grid's best runs instead (`fronts` of the stored records), judged on so many images. Failures go
    to a log in the results folder (`failures`) and are told at the end.
    """
    specs = read_grid(path)
    store = Store(out)
    if front:
        stored = [found.record for spec in specs if (found := store.get(spec.run_id)) and is_current(found.record)]
        specs = [replace(RunSpec.from_dict(record.spec), samples=front) for record in fronts(stored)]
    found = {} if again else {spec.run_id: store.get(spec.run_id) for spec in specs}
    known = [run_id for run_id, stored in found.items() if stored and is_current(stored.record)]
    todo = [spec for spec in specs if spec.run_id not in known]
    result: dict[str, list[str]] = {"measured": [], "known": known, "failed": []}
    failed = []
    for spec, outcome in _one_by_one(todo, out, measure or partial(apart.measure, limit_s=limit_s), progress):
        result["measured" if outcome.done else "failed"].append(spec.run_id)
        if not outcome.done:
            failures.add(store.root, spec, outcome)
            failed.append((spec, outcome))
    tell_failed(failed, store.root)
    return result


def tell_failed(failed: Iterable[tuple[RunSpec, Outcome]], root: Path) -> None:
    """Each failure with its reason on standard error, and where all of them are kept."""
    lines = [f"{outcome.state}: {spec.run_id} {spec.label()}: {outcome.reason}" for spec, outcome in failed]
    if lines:
        print(*lines, f"All failures are in {failures.path_in(root)}.", sep="\n", file=sys.stderr, flush=True)


def time_left(elapsed_s: float, done: int, of: int) -> str:
    """What the rest will take at the pace so far, in words; nothing before the first run has ended."""
    if not done or done >= of:
        return ""
    minutes = elapsed_s / done * (of - done) / 60
    return f"about {minutes / 60:.1f} h left" if minutes >= 90 else f"about {math.ceil(minutes)} min left"


def fronts(records: Sequence[RunRecord]) -> list[RunRecord]:
    """Those of the largest group that shares a baseline which no other beats in distance and time, then those in
    distance and bytes, the fastest and the smallest first; and their baseline before all.
    """
    groups: dict[str, list[RunRecord]] = {}
    for record in records:
        groups.setdefault(RunSpec.from_dict(record.spec).baseline.run_id, []).append(record)
    group = max(groups.values(), key=len, default=[])
    chosen = {record.run_id: record for record in group if not record.spec["techniques"]}
    for cost in (_relative_time, _weights):
        known = [(at, far, record) for record in group if (at := cost(record)) and (far := record.quality["distance"])]
        best = math.inf
        for _, distance, record in sorted(known, key=lambda one: one[:2]):
            if distance < best:
                best = distance
                chosen.setdefault(record.run_id, record)
    return list(chosen.values())


def _one_by_one(
    todo: Sequence[RunSpec], out: Path | None, measure: Measure, progress: Callable[[str, int, int], None]
) -> Ended:
    started = time.monotonic()
    for done, spec in enumerate(todo):
        left = time_left(time.monotonic() - started, done, len(todo))
        print(", ".join(filter(None, [spec.label(), left])), file=sys.stderr, flush=True)
        yield spec, measure(spec, out)
        progress("sweep", done + 1, len(todo))


def _relative_time(record: RunRecord) -> float | None:
    if not record.spec["techniques"]:
        return 1.0
    return 1 / record.speedup["ratio"] if record.speedup["ratio"] else None


def _weights(record: RunRecord) -> float:
    return record.memory["weight_bytes"]
