"""Sweeps: every run of a grid file, each in a fresh process, resumed where it stopped."""

import itertools
import math
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dit_core import techniques
from dit_core.errors import BadRequest
from dit_core.spec import RunRecord, RunSpec
from dit_core.store import Store, is_current


def read_grid(path: Path) -> list[RunSpec]:
    """The runs of a TOML file, in order and without repeats.

    `[protocol]` holds the fields that all runs share; each `[[runs]]` holds those of its own. A list as a value stands
    for one run per entry; several lists, in knobs or fields, for all their combinations.
    """
    try:
        grid = tomllib.loads(path.read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise BadRequest(f"{path} cannot be read as a grid: {error}") from error
    if unknown := sorted(set(grid) - {"protocol", "runs"}):
        raise BadRequest(f"{path} has an unknown table {unknown[0]!r}: use [protocol] and [[runs]].")
    specs = [spec for run in grid.get("runs", []) for spec in _expand({**grid.get("protocol", {}), **run})]
    return list({spec.run_id: spec for spec in specs}.values())


def sweep(
    path: Path,
    *,
    out: Path | None = None,
    again: bool = False,
    front: int = 0,
    progress: Callable[[str, int, int], None] = lambda stage, step, of: None,
) -> dict[str, list[str]]:
    """Measure what the store does not hold; returns the run ids `measured`, `known` and `failed`.

    With `front`, the grid's best runs instead (`fronts` of the stored records), judged on so many images.
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
    started = time.monotonic()
    for done, spec in enumerate(todo):
        left = (time.monotonic() - started) / done * (len(todo) - done) / 60 if done else None
        print(f"{spec.label()}" + (f", about {left:.0f} min left" if left else ""), file=sys.stderr, flush=True)
        command = [sys.executable, *spec.command().split()[1:], "--out", str(store.root)]
        ended = subprocess.run([*command, *(["--again"] if again else [])], stdout=subprocess.DEVNULL, check=False)
        result["failed" if ended.returncode else "measured"].append(spec.run_id)
        progress("sweep", done + 1, len(todo))
    return result


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


def _relative_time(record: RunRecord) -> float | None:
    if not record.spec["techniques"]:
        return 1.0
    return 1 / record.speedup["ratio"] if record.speedup["ratio"] else None


def _weights(record: RunRecord) -> float:
    return record.memory["weight_bytes"]


def _expand(run: dict[str, Any]) -> Iterator[RunSpec]:
    """All combinations of the lists in a run's fields and in its techniques' knobs."""
    recipe = run.pop("techniques", [])
    recipes = itertools.product(*(_combinations(technique) for technique in recipe))
    fields = _combinations(run, keep=("classes",))
    for chosen, values in itertools.product(list(recipes), list(fields)):
        yield RunSpec.from_dict({**values, "techniques": techniques.canonical(chosen)})


def _combinations(table: dict[str, Any], keep: tuple[str, ...] = ()) -> Iterator[dict[str, Any]]:
    choices = [value if isinstance(value, list) and key not in keep else [value] for key, value in table.items()]
    for values in itertools.product(*choices):
        yield dict(zip(table, values, strict=True))
