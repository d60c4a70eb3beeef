"""Sweeps: measure the runs of a grid file that the store does not hold, one after the other."""

import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from dit_core.errors import BadRequest
from dit_core.experiment.known import current_record, local_fingerprints
from dit_core.records import metrics
from dit_core.records.pareto import front as undominated
from dit_core.records.record import RunRecord
from dit_core.records.spec import RunSpec
from dit_core.records.store import Store
from dit_core.sweeps import failures, isolated_run
from dit_core.sweeps.grid import read_grid
from dit_core.sweeps.isolated_run import Measure, Outcome
from dit_core.sweeps.plan import refusal

_WORDS = ("measured", "known already", "failed", "left for another sweep")
Ended = Iterator[tuple[RunSpec, Outcome]]


@dataclass(frozen=True)
class Place:
    """A place that measures runs: `environments` gives the fingerprints for these runs, `run` measures them."""

    environments: Callable[[Iterable[RunSpec]], set[str]]
    run: Callable[[Sequence[RunSpec], Path | None], Ended]


def sweep(
    path: Path,
    *,
    out: Path | None = None,
    again: bool = False,
    front: int = 0,
    limit_s: float = isolated_run.LIMIT_S,
    within_s: float = math.inf,
    progress: Callable[[str, int, int], None] = lambda stage, step, of: None,
    measure: Measure | None = None,
    place: Place | None = None,
) -> dict[str, list[str]]:
    """Measure the runs of a grid file that are not known here; return the run ids `measured`, `known` and `failed`.

    Records go to the local part of the store, or into the folder `out`. Runs are measured on this machine or in another
    `place`. With `front`, the best runs of the grid (`fronts` of the records of this environment) are measured again
    with that many images. After `within_s` seconds the run that is measured is ended and no other starts; those that
    remain are `left`. Failures are added to a log in the results folder (`failures`) and printed at the end.
    """
    started = time.monotonic()
    specs = read_grid(path)
    store = Store(out)
    here = place is None
    place = place or Place(
        local_fingerprints, partial(_one_by_one, measure=measure, limit_s=limit_s, until=started + within_s)
    )
    environments = place.environments(specs) if front or not again else set()
    if front:
        stored = [record for spec in specs if (record := current_record(store, spec, environments))]
        specs = [replace(RunSpec.from_dict(record.spec), samples=front) for record in fronts(stored)]
    old = [] if again else [spec.run_id for spec in specs if current_record(store, spec, environments)]
    todo = [spec for spec in specs if spec.run_id not in old]
    if todo:
        store.probe(local=out is None)
    if todo and here and all(reasons := [refusal(spec) for spec in todo]):
        raise BadRequest(f"{path}: no run can be measured on this machine. {reasons[0]}")
    result: dict[str, list[str]] = {"measured": [], "known": old, "failed": []}
    failed = []
    for done, (spec, outcome) in enumerate(place.run(todo, out), start=1):
        result["measured" if outcome.done else "failed"].append(spec.run_id)
        if not outcome.done:
            failures.add(store.root, spec, outcome)
            failed.append((spec, outcome))
        progress("sweep", done, len(todo))
    print_failures(failed, store.root)
    ended = {*result["measured"], *result["failed"]}
    if left := [spec.run_id for spec in todo if spec.run_id not in ended]:
        result["left"] = left
    return result


def counts(done: dict[str, list[str]]) -> str:
    """Return the counts of measured, known and failed runs in one line."""
    return ", ".join(f"{len(runs)} {word}" for (word, runs) in zip(_WORDS, done.values(), strict=False))


def print_failures(failed: Iterable[tuple[RunSpec, Outcome]], root: Path) -> None:
    """Print each failure with its reason to standard error, and the file that keeps all failures."""
    lines = [f"{outcome.state}: {spec.run_id} {spec.label()}: {outcome.reason}" for spec, outcome in failed]
    if lines:
        print(*lines, f"All failures are in {failures.path_in(root)}.", sep="\n", file=sys.stderr, flush=True)


def time_left(elapsed_s: float, done: int, of: int) -> str:
    """Return the expected time for the remaining runs in words; empty before the first run has ended."""
    if not done or done >= of:
        return ""
    minutes = elapsed_s / done * (of - done) / 60
    return f"about {minutes / 60:.1f} h left" if minutes >= 90 else f"about {math.ceil(minutes)} min left"


def fronts(records: Iterable[RunRecord]) -> list[RunRecord]:
    """Return the best records of the largest comparable group, after their baseline.

    First come those on the front of time and distance, then those on the front of bytes and distance; the fastest and
    the smallest are first. Records are comparable if they have the same environment, baseline and quality method.
    """
    quality = metrics.PRIMARY_QUALITY
    groups: dict[tuple[str, str, str], list[RunRecord]] = {}
    for record in (records := list(records)):
        if quality.read(record) is not None:
            groups.setdefault((*_workload(record), quality.method(record) or ""), []).append(record)
    group = max(groups.values(), key=len, default=[])
    same = [record for record in records if group and _workload(record) == _workload(group[0])]
    chosen = {record.run_id: record for record in same if not record.spec["techniques"]}
    for cost in (metrics.PRIMARY_COST, metrics.WEIGHT_BYTES):
        costs = [(cost.read(record), quality.read(record), record) for record in group]
        known = [((x, y), record) for x, y, record in costs if x is not None and y is not None]
        for i in undominated([point for point, _ in known]):
            chosen.setdefault(known[i][1].run_id, known[i][1])
    return list(chosen.values())


def _one_by_one(
    todo: Sequence[RunSpec], out: Path | None, measure: Measure | None, limit_s: float, until: float
) -> Ended:
    started = time.monotonic()
    for done, spec in enumerate(todo):
        now = time.monotonic()
        if now >= until:
            return
        left = time_left(now - started, done, len(todo))
        print(", ".join(filter(None, [spec.label(), left])), file=sys.stderr, flush=True)
        outcome = _refused(spec) or (measure or partial(isolated_run.measure, limit_s=min(limit_s, until - now)))(
            spec, out
        )
        if not outcome.done and time.monotonic() >= until:
            return  # the time was over, which is no fault of the run
        yield spec, outcome


def _refused(spec: RunSpec) -> Outcome | None:
    """Return the outcome of a run that cannot be measured on this machine, without starting a process for it."""
    reason = refusal(spec)
    return Outcome("failed", reason) if reason else None


def _workload(record: RunRecord) -> tuple[str, str]:
    return record.environment["fingerprint"], RunSpec.from_dict(record.spec).baseline.run_id
