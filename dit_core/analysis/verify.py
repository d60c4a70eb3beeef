"""Check every stored record, and measure some of them again. The checks load no torch.

A check reads the record (schema, kinds, run id), compares its values with each other, and decodes its sample sheets. A
rerun measures the record's own spec again and compares every field within its tolerance (`reproducibility`).
"""

import io
import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from dit_core.analysis.consistency import inconsistencies
from dit_core.analysis.reproducibility import Comparison, compare, disturbance, same_machine
from dit_core.errors import BadRequest
from dit_core.experiment import trajectories
from dit_core.experiment.outcome import EXPERIMENT
from dit_core.inside import files as panels
from dit_core.recipes.recipe import Recipe
from dit_core.records.record import RunRecord
from dit_core.records.spec import RunSpec
from dit_core.records.store import FOLDERS, SHEETS, Store, Stored
from dit_core.system import isolation

TIME_LIMIT_S = 3600.0  # for one rerun


@dataclass(frozen=True)
class Problem:
    """A problem with one file, as a short message."""

    file: str
    problem: str


@dataclass(frozen=True)
class Rerun:
    """The comparison of a record with its rerun. `failure` is why the rerun failed; `timed` is False between machines.

    `disturbance` says what else used the device during either timing.
    """

    file: str
    label: str
    comparisons: tuple[Comparison, ...] = ()
    timed: bool = True
    disturbance: str = ""
    failure: str = ""

    @property
    def ok(self) -> bool:
        return not self.failure and all(comparison.ok for comparison in self.comparisons)


def check(store: Store) -> list[Problem]:
    """Return all problems of a store, sorted by file."""
    loaded = store.load()
    problems = [Problem(_name(store, item.path), item.reason) for item in loaded.skipped]
    for stored in loaded.records:
        problems += [Problem(_name(store, stored.path), message) for message in record_problems(store, stored)]
    problems += [Problem(_name(store, path), "two records of one recipe") for path in _duplicates(loaded.records)]
    problems += [Problem(_name(store, path), "no record names this sheet") for path in _orphans(store)]
    problems += [
        Problem(f"{panels.FOLDER}/{name}", problem) for name, problem in panels.check(store.root / panels.FOLDER)
    ]
    for folder in (store.root / name for name in FOLDERS.values()):
        records = [stored for stored in loaded.records if stored.path.parent == folder]
        problems += [
            Problem(_name(store, folder / trajectories.FOLDER / name), problem)
            for name, problem in trajectories.check(folder, records)
        ]
    return sorted(problems, key=lambda problem: problem.file)


def record_problems(store: Store, stored: Stored) -> Iterator[str]:
    """Yield what is wrong with the values and the sheets of one record."""
    yield from inconsistencies(stored.record)
    yield from _sheet_problems(store, stored)


def rerun(
    store: Store,
    count: int,
    seed: int = 0,
    *,
    measure: Callable[[RunSpec], RunRecord] | None = None,
    progress: Callable[[str, int, int], None] = lambda stage, step, of: None,
) -> list[Rerun]:
    """Measure `count` random records again, each in a new process, and compare. The store does not change.

    Raises BadRequest if there are fewer records.
    """
    records = sorted(store.load().records, key=lambda stored: str(stored.path))
    if not 0 <= count <= len(records):
        raise BadRequest(f"--rerun must be between 0 and the number of records, {len(records)}, got {count}.")
    reruns = []
    for index, stored in enumerate(random.Random(seed).sample(records, count)):
        reruns.append(_measure_again(store, stored, measure or measure_in_new_process))
        progress("verify", index + 1, count)
    return reruns


def measure_in_new_process(spec: RunSpec, limit_s: float = TIME_LIMIT_S) -> RunRecord:
    """The record of a spec, measured in a process of its own. Raises `isolation.Failed` with the reason."""
    isolation.warm(EXPERIMENT)
    return RunRecord.from_dict(isolation.run(_measured, spec, limit_s=limit_s))


def _measured(spec: RunSpec) -> dict[str, Any]:
    from dit_core.experiment.run import run

    return run(spec).to_dict()


def report(problems: Sequence[Problem], reruns: Sequence[Rerun], records: int) -> str:
    """Return the outcome as text: every problem, then every comparison of every rerun."""
    lines = [f"{problem.file}: {problem.problem}" for problem in problems]
    for run in reruns:
        compared = [comparison for comparison in run.comparisons if comparison.compared]
        outcome = run.failure or (
            f"{sum(comparison.ok for comparison in compared)} of {len(compared)} figures hold{_not_compared(run)}"
        )
        lines.append(f"{run.file} ({run.label}): {outcome}")
        lines += [f"  {_line(comparison)}" for comparison in run.comparisons]
    lines.append(f"{records} records, {len(problems)} problems, {len(reruns)} measured again")
    return "\n".join(lines)


def as_data(problems: Sequence[Problem], reruns: Sequence[Rerun], records: int) -> dict[str, Any]:
    """Return the outcome as plain data for JSON."""
    runs = [
        {**asdict(run), "ok": run.ok, "comparisons": [{**asdict(c), "ok": c.ok} for c in run.comparisons]}
        for run in reruns
    ]
    return {"records": records, "problems": [asdict(problem) for problem in problems], "reruns": runs}


def _measure_again(store: Store, stored: Stored, measure: Callable[[RunSpec], RunRecord]) -> Rerun:
    recorded = stored.record
    spec, file = RunSpec.from_dict(recorded.spec), _name(store, stored.path)
    try:
        measured = measure(spec)
    except (BadRequest, RuntimeError, ValueError, OSError) as error:
        return Rerun(file, spec.label(), failure=f"it could not be measured again: {error}")
    disturbed = disturbance(measured) or disturbance(recorded)
    comparisons = tuple(compare(recorded, measured))
    return Rerun(file, spec.label(), comparisons, same_machine(recorded, measured), disturbed)


def _sheet_problems(store: Store, stored: Stored) -> Iterator[str]:
    samples = stored.record.samples
    for which, key in SHEETS.items():
        name = samples[key]
        if name is None:
            continue
        data = store.sheet(stored, which)
        if data is None:
            yield f"its {which} sheet {name} is missing or was damaged"
            continue
        rows = math.ceil(len(samples["labels"]) / samples["columns"])
        if wrong := _wrong_sheet(data, (samples["columns"] * samples["tile"], rows * samples["tile"])):
            yield f"its {which} sheet {name} {wrong}"


def _wrong_sheet(data: bytes, size: tuple[int, int]) -> str:
    """Return what is wrong with a sheet that should have this width and height; empty if nothing is."""
    from PIL import Image

    if data[:4] != b"RIFF" or data[8:12] != b"WEBP" or b"VP8L" not in data[12:64]:
        return "is not lossless WebP"
    try:
        with Image.open(io.BytesIO(data)) as picture:
            picture.load()
            actual = picture.size
    except (OSError, ValueError, SyntaxError):
        return "cannot be decoded"
    return "" if actual == size else f"is {actual[0]} by {actual[1]} pixels, but its tiles need {size[0]} by {size[1]}"


def _duplicates(records: Sequence[Stored]) -> Iterator[Path]:
    """Yield bundled records with the recipe, workload and environment of an earlier one: a plot shows only one."""
    seen = set()
    for stored in sorted(records, key=lambda stored: stored.path.name):
        if stored.origin == "bundled":
            key = _identity(stored.record), stored.record.environment["fingerprint"]
            if key in seen:
                yield stored.path
            seen.add(key)


def _identity(record: RunRecord) -> str:
    """Return the run id with every knob written out: a record older than a knob has the knob's default."""
    spec = RunSpec.from_dict(record.spec)
    try:
        return replace(spec, techniques=Recipe.of(spec).to_dicts()).run_id
    except BadRequest:
        return spec.run_id


def _orphans(store: Store) -> Iterator[Path]:
    loaded = store.load()
    for folder in (store.root / name for name in FOLDERS.values()):
        named = {
            stored.record.samples[key]
            for stored in loaded.records
            if stored.path.parent == folder
            for key in SHEETS.values()
        }
        if any(skipped.path.parent == folder for skipped in loaded.skipped):
            continue  # an unreadable record may use them
        sheets = sorted((folder / "sheets").glob("*"))
        yield from (path for path in sheets if path.name not in named and not path.name.endswith(".tmp"))


def _line(comparison: Comparison) -> str:
    """Return one line about a comparison."""
    if not comparison.compared:
        return f"{comparison.field}: not compared: {comparison.reason}"
    equal = comparison.low is None
    allowed = "the recorded value" if equal else f"[{_short(comparison.low)}, {_short(comparison.high)}]"
    outcome = ("equals" if comparison.ok else "DIFFERS FROM") if equal else "inside" if comparison.ok else "OUTSIDE"
    values = f"recorded {_short(comparison.recorded)}, measured {_short(comparison.measured)}"
    return f"{comparison.field} ({comparison.kind}): {values}, {outcome} {allowed}"


def _not_compared(run: Rerun) -> str:
    if not run.timed:
        return ", times not compared: this is another machine"
    return f", latency not compared: {run.disturbance}" if run.disturbance else ""


def _name(store: Store, path: Path) -> str:
    return str(path.relative_to(store.root))


def _short(value: Any) -> str:
    text = "unknown" if value is None else f"{value:.6g}" if isinstance(value, int | float) else str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
