"""Sweeps: what a grid file asks for and the store does not hold, one run after another."""

import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from dit_core.fronts import front as undominated
from dit_core.search import apart, failures
from dit_core.search.apart import Measure, Outcome
from dit_core.search.grid import read_grid
from dit_core.search.known import here, known
from dit_core.spec import RunRecord, RunSpec
from dit_core.store import Store

_WORDS = ("measured", "known already", "failed")
Ended = Iterator[tuple[RunSpec, Outcome]]


@dataclass(frozen=True)
class Place:
    """Where runs are measured: the fingerprints of its environments for given runs, and what measures these."""

    environments: Callable[[Iterable[RunSpec]], set[str]]
    run: Callable[[Sequence[RunSpec], Path | None], Ended]


def sweep(
    path: Path,
    *,
    out: Path | None = None,
    again: bool = False,
    front: int = 0,
    limit_s: float = apart.LIMIT_S,
    progress: Callable[[str, int, int], None] = lambda stage, step, of: None,
    measure: Measure | None = None,
    place: Place | None = None,
) -> dict[str, list[str]]:
    """Measure what is not known here (`known`); returns the run ids `measured`, `known` and `failed`.

    Records go to the local part of the store, or into the folder `out` as its own; runs are measured on this machine
    or in another `place`. With `front`, the grid's best runs
    instead (`fronts` of the records that were made here), judged on so many images. Failures go to a log in the results
    folder (`failures`) and are told at the end.
    """
    specs = read_grid(path)
    store = Store(out)
    place = place or Place(here, partial(_one_by_one, measure=measure or partial(apart.measure, limit_s=limit_s)))
    environments = place.environments(specs) if front or not again else set()
    if front:
        stored = [record for spec in specs if (record := known(store, spec, environments))]
        specs = [replace(RunSpec.from_dict(record.spec), samples=front) for record in fronts(stored)]
    old = [] if again else [spec.run_id for spec in specs if known(store, spec, environments)]
    todo = [spec for spec in specs if spec.run_id not in old]
    result: dict[str, list[str]] = {"measured": [], "known": old, "failed": []}
    failed = []
    for done, (spec, outcome) in enumerate(place.run(todo, out), start=1):
        result["measured" if outcome.done else "failed"].append(spec.run_id)
        if not outcome.done:
            failures.add(store.root, spec, outcome)
            failed.append((spec, outcome))
        progress("sweep", done, len(todo))
    tell_failed(failed, store.root)
    return result


def counts(done: dict[str, list[str]]) -> str:
    """What a sweep did, in a line."""
    return ", ".join(f"{len(runs)} {word}" for (word, runs) in zip(_WORDS, done.values(), strict=True))


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


def fronts(records: Iterable[RunRecord]) -> list[RunRecord]:
    """Of the largest group that can be compared, those which no other beats in time and distance, then those in bytes
    and distance, the fastest and the smallest first; and their baseline before all.

    A group was made in one environment and shares its baseline and the name of its metric.
    """
    groups: dict[tuple[str, str, str], list[RunRecord]] = {}
    for record in (records := list(records)):
        if record.quality["distance"] is not None:
            groups.setdefault((*_workload(record), record.quality["metric"]), []).append(record)
    group = max(groups.values(), key=len, default=[])
    same = [record for record in records if group and _workload(record) == _workload(group[0])]
    chosen = {record.run_id: record for record in same if not record.spec["techniques"]}
    for cost in (relative_time, _weights):
        told = [((at, record.quality["distance"]), record) for record in group if (at := cost(record)) is not None]
        for i in undominated([costs for costs, _ in told]):
            chosen.setdefault(told[i][1].run_id, told[i][1])
    return list(chosen.values())


def _one_by_one(todo: Sequence[RunSpec], out: Path | None, measure: Measure) -> Ended:
    started = time.monotonic()
    for done, spec in enumerate(todo):
        left = time_left(time.monotonic() - started, done, len(todo))
        print(", ".join(filter(None, [spec.label(), left])), file=sys.stderr, flush=True)
        yield spec, measure(spec, out)


def _workload(record: RunRecord) -> tuple[str, str]:
    return record.environment["fingerprint"], RunSpec.from_dict(record.spec).baseline.run_id


def relative_time(record: RunRecord) -> float | None:
    if not record.spec["techniques"]:
        return 1.0
    return 1 / record.speedup["ratio"] if record.speedup["ratio"] else None


def _weights(record: RunRecord) -> float:
    return record.memory["weight_bytes"]
