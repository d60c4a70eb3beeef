"""Check every stored record, and measure some of them again. The checks load no torch.

A check reads the record (schema, kinds, run id), compares its values with each other, and decodes its sample sheets. A
rerun measures the record's own spec again and compares every field within its tolerance (`reproducibility`).
"""

import io
import json
import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from dit_core.analysis.consistency import inconsistencies
from dit_core.analysis.reproducibility import (
    Comparison,
    Difference,
    compare,
    differences,
    disturbance,
    same_machine,
    short,
)
from dit_core.errors import BadRequest
from dit_core.experiment import trajectories
from dit_core.experiment.checks import check as check_spec
from dit_core.experiment.outcome import EXPERIMENT
from dit_core.inside import files as panels
from dit_core.recipes.recipe import Recipe
from dit_core.records.record import RunRecord
from dit_core.records.spec import RunSpec
from dit_core.records.store import ID_DIGITS, SHEETS, Store, Stored
from dit_core.system import isolation
from dit_core.system.files import named_path

TIME_LIMIT_S = 3600.0  # for one rerun


@dataclass(frozen=True)
class Problem:
    """A problem with one file, as a short message."""

    file: str
    problem: str


@dataclass(frozen=True)
class Rerun:
    """The comparison of a record with its rerun. `failure` is why the rerun failed; `timed` is False between machines.

    `disturbance` says what else used the device during either timing, `differences` how the environments differ.
    """

    file: str
    label: str
    comparisons: tuple[Comparison, ...] = ()
    timed: bool = True
    disturbance: str = ""
    failure: str = ""
    differences: tuple[Difference, ...] = ()

    @property
    def compared(self) -> tuple[Comparison, ...]:
        return tuple(comparison for comparison in self.comparisons if comparison.compared)

    @property
    def outcome(self) -> str:
        """How many figures hold, or why the rerun failed."""
        holding = sum(comparison.ok for comparison in self.compared)
        return self.failure or f"{holding} of {len(self.compared)} figures hold{_not_compared(self)}"

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
    for folder in store.folders.values():
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


def reproduce(store: Store, name: str, *, measure: Callable[[RunSpec], RunRecord] | None = None) -> Rerun:
    """Measure one record again on this machine, in a new process, and compare. The store does not change.

    Raises BadRequest if there is no such record, or if its run cannot be measured on this machine.
    """
    stored = find_record(store, name)
    check_spec(RunSpec.from_dict(stored.record.spec))
    return _measure_again(store, stored, measure or measure_in_new_process)


def find_record(store: Store, name: str) -> Stored:
    """Return the record of a file, a run id or its first six digits, or a name as links have it; the newest of several.

    Raises BadRequest if there is none, or if several runs have such a name.
    """
    if name.endswith(".json") and (path := named_path(name)).is_file():
        try:
            return Stored(RunRecord.from_dict(json.loads(path.read_bytes())), "local", path.resolve())
        except ValueError as error:  # also for broken JSON
            raise BadRequest(f"{name} is no record: {error}.") from error
    records = store.load().records
    found = [item for item in records if name in (item.point_id, item.record.run_id, item.path.name, item.path.stem)]
    found = found or [item for item in records if len(name) >= ID_DIGITS and item.record.run_id.startswith(name)]
    if not found:
        raise BadRequest(f"{store.root} has no record {name}: name a file, a run id or its first {ID_DIGITS} digits.")
    if len({item.record.run_id for item in found}) > 1:
        raise BadRequest(f"Several runs begin with {name}: name one of {', '.join(i.record.run_id for i in found)}.")
    return found[0]


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
    lines += map(rerun_report, reruns)
    lines.append(f"{records} records, {len(problems)} problems, {len(reruns)} measured again")
    return "\n".join(lines)


def rerun_report(run: Rerun) -> str:
    """Return the outcome of one rerun as text: how the environments differ, then every comparison."""
    lines = [f"{run.file} ({run.label}): {run.outcome}", *(f"  {difference}" for difference in run.differences)]
    return "\n".join([*lines, *(f"  {_line(comparison)}" for comparison in run.comparisons)])


def as_data(problems: Sequence[Problem], reruns: Sequence[Rerun], records: int) -> dict[str, Any]:
    """Return the outcome as plain data for JSON."""
    problem_data = [asdict(problem) for problem in problems]
    return {"records": records, "problems": problem_data, "reruns": [rerun_data(run) for run in reruns]}


def rerun_data(run: Rerun) -> dict[str, Any]:
    """Return one rerun as plain data for JSON."""
    return {**asdict(run), "ok": run.ok, "comparisons": [{**asdict(c), "ok": c.ok} for c in run.comparisons]}


def _measure_again(store: Store, stored: Stored, measure: Callable[[RunSpec], RunRecord]) -> Rerun:
    spec, file = RunSpec.from_dict(stored.record.spec), _name(store, stored.path)
    try:
        measured = measure(spec)
    except (BadRequest, RuntimeError, ValueError, OSError) as error:
        return Rerun(file, spec.label(), failure=f"it could not be measured again: {error}")
    return compared_with(file, stored.record, measured)


def compared_with(file: str, recorded: RunRecord, measured: RunRecord) -> Rerun:
    """Return the comparison of a record with a later measurement of the same run."""
    disturbed = disturbance(measured) or disturbance(recorded)
    comparisons = tuple(compare(recorded, measured))
    timed = same_machine(recorded, measured)
    differing = tuple(differences(recorded.environment, measured.environment))
    label = RunSpec.from_dict(recorded.spec).label()
    return Rerun(file, label, comparisons, timed, disturbed, differences=differing)


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
    except Exception:  # a damaged file can make a parser raise any
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
    for folder in store.folders.values():
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
    outcome = ("equals" if comparison.ok else "DIFFERS FROM") if equal else "inside" if comparison.ok else "OUTSIDE"
    values = f"recorded {short(comparison.recorded)}, measured {short(comparison.measured)}"
    return f"{comparison.field} ({comparison.kind}): {values}, {outcome} {comparison.allowed}"


def _not_compared(run: Rerun) -> str:
    if not run.timed:
        return ", times not compared: this is another machine"
    return f", latency not compared: {run.disturbance}" if run.disturbance else ""


def _name(store: Store, path: Path) -> str:
    return str(path.relative_to(store.root)) if path.is_relative_to(store.root) else path.name
