"""Check every stored record, and measure some of them again. The checks load no torch.

A record is whole where it can be read (schema, kinds and units of its figures, run id), agrees with itself, and has its
sheets. A record holds where its own command gives the same figures again: work and bytes exactly, what the same seeds
decide up to rounding, and what is measured within what its intervals allow.
"""

import io
import json
import math
import os
import random
import secrets
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from dit_core import techniques, trajectories
from dit_core.agreement import Again, compare, same_machine
from dit_core.contradictions import contradictions
from dit_core.errors import BadRequest
from dit_core.inside import files as panels
from dit_core.processes import MARK, end_marked
from dit_core.spec import RunRecord, RunSpec
from dit_core.store import SHEETS, Store, Stored

TIME_LIMIT_S = 3600.0  # of one record measured again


@dataclass(frozen=True)
class Problem:
    """What is wrong with one file, in a few words."""

    file: str
    problem: str


@dataclass(frozen=True)
class Rerun:
    """A record measured again. `failure` is empty where its command ran; `timed` where times may be compared."""

    file: str
    label: str
    figures: tuple[Again, ...] = ()
    timed: bool = True
    disturbance: str = ""  # what used the device during either timing
    failure: str = ""

    @property
    def ok(self) -> bool:
        return not self.failure and all(figure.ok for figure in self.figures)


def check(store: Store) -> list[Problem]:
    """Everything that is wrong in a store, in order of file; an empty list where all is well."""
    loaded = store.load()
    found = [Problem(_name(store, item.path), item.reason) for item in loaded.skipped]
    for stored in loaded.records:
        problems = [*contradictions(stored.record), *_against_sheets(store, stored)]
        found += [Problem(_name(store, stored.path), problem) for problem in problems]
    found += [Problem(_name(store, path), "two records of one recipe") for path in _duplicates(loaded.records)]
    found += [Problem(_name(store, path), "no record names this sheet") for path in _orphans(store)]
    found += [Problem(f"{panels.FOLDER}/{name}", problem) for name, problem in panels.check(store.root / panels.FOLDER)]
    for folder in (store.root, store.root / "local"):
        beside = [stored for stored in loaded.records if stored.path.parent == folder]
        found += [
            Problem(_name(store, folder / trajectories.FOLDER / name), problem)
            for name, problem in trajectories.check(folder, beside)
        ]
    return sorted(found, key=lambda problem: problem.file)


def rerun(
    store: Store,
    count: int,
    seed: int = 0,
    *,
    measure: Callable[[RunSpec], RunRecord] | None = None,
    progress: Callable[[str, int, int], None] = lambda stage, step, of: None,
) -> list[Rerun]:
    """Measure `count` records again, drawn with `seed`, each in a fresh process; the store stays as it is.

    Raises BadRequest where there are fewer records.
    """
    records = sorted(store.load().records, key=lambda stored: str(stored.path))
    if not 0 <= count <= len(records):
        raise BadRequest(f"--rerun must be between 0 and the number of records, {len(records)}, got {count}.")
    done = []
    for index, stored in enumerate(random.Random(seed).sample(records, count)):
        done.append(_measure_again(store, stored, measure or measured_apart))
        progress("verify", index + 1, count)
    return done


def measured_apart(spec: RunSpec, time_limit_s: float = TIME_LIMIT_S) -> RunRecord:
    """The record of a spec, measured by its own command in a fresh process.

    Raises RuntimeError with its last line, or where it took longer: then all that it started is ended.
    """
    mark = f"verify-{secrets.token_hex(8)}"
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, *shlex.split(spec.command())[1:], "--out", folder, "--json"]
        environment = {**os.environ, MARK: mark}
        try:
            ended = subprocess.run(
                command, capture_output=True, text=True, check=False, timeout=time_limit_s, env=environment
            )
        except subprocess.TimeoutExpired as error:
            end_marked(mark)
            raise RuntimeError(f"it took longer than {time_limit_s:g} s and was ended") from error
    if ended.returncode:
        raise RuntimeError((ended.stderr.strip().splitlines() or ["it left no word"])[-1])
    return RunRecord.from_dict(json.loads(ended.stdout))


def report(problems: Sequence[Problem], reruns: Sequence[Rerun], records: int) -> str:
    """The outcome for a person: every problem, then for every figure measured again whether it holds."""
    lines = [f"{problem.file}: {problem.problem}" for problem in problems]
    for run in reruns:
        compared = [figure for figure in run.figures if figure.compared]
        note = "" if run.failure else _not_compared(run)
        told = run.failure or f"{sum(figure.ok for figure in compared)} of {len(compared)} figures hold{note}"
        lines.append(f"{run.file} ({run.label}): {told}")
        lines += [f"  {_outcome(figure)}" for figure in run.figures]
    lines.append(f"{records} records, {len(problems)} problems, {len(reruns)} measured again")
    return "\n".join(lines)


def as_data(problems: Sequence[Problem], reruns: Sequence[Rerun], records: int) -> dict[str, Any]:
    """The outcome as plain data."""
    again = [
        {**asdict(run), "ok": run.ok, "figures": [{**asdict(one), "ok": one.ok} for one in run.figures]}
        for run in reruns
    ]
    return {"records": records, "problems": [asdict(problem) for problem in problems], "reruns": again}


def _measure_again(store: Store, stored: Stored, measure: Callable[[RunSpec], RunRecord]) -> Rerun:
    spec, file = RunSpec.from_dict(stored.record.spec), _name(store, stored.path)
    try:
        now = measure(spec)
    except (BadRequest, RuntimeError, ValueError, OSError) as error:
        return Rerun(file, spec.label(), failure=f"it could not be measured again: {error}")
    was = stored.record
    flag = now.latency.get("flag") or was.latency.get("flag") or ""
    return Rerun(file, spec.label(), tuple(compare(was, now)), same_machine(was, now), flag)


def _against_sheets(store: Store, stored: Stored) -> Iterator[str]:
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
    """What is wrong with a sheet of that width and height; empty where nothing is."""
    from PIL import Image

    if data[:4] != b"RIFF" or data[8:12] != b"WEBP" or b"VP8L" not in data[12:64]:
        return "is not lossless WebP"
    try:
        with Image.open(io.BytesIO(data)) as picture:
            picture.load()
            found = picture.size
    except (OSError, ValueError, SyntaxError):
        return "cannot be decoded"
    return "" if found == size else f"is {found[0]} by {found[1]} pixels, its tiles need {size[0]} by {size[1]}"


def _duplicates(records: Sequence[Stored]) -> Iterator[Path]:
    """Bundled records of one recipe, workload and environment, all but the first: a plot could show only one."""
    seen = set()
    for stored in sorted(records, key=lambda one: one.path.name):
        if stored.origin == "bundled":
            key = _identity(stored.record), stored.record.environment["fingerprint"]
            if key in seen:
                yield stored.path
            seen.add(key)


def _identity(record: RunRecord) -> str:
    """The run id with every knob written out: a record from before a knob was there has it at its default."""
    spec = RunSpec.from_dict(record.spec)
    try:
        return replace(spec, techniques=techniques.canonical(spec.techniques)).run_id
    except BadRequest:
        return spec.run_id


def _orphans(store: Store) -> Iterator[Path]:
    loaded = store.load()
    for folder in (store.root, store.root / "local"):
        named = {
            stored.record.samples[key]
            for stored in loaded.records
            if stored.path.parent == folder
            for key in SHEETS.values()
        }
        if any(skipped.path.parent == folder for skipped in loaded.skipped):
            continue  # a record that cannot be read may name them
        sheets = sorted((folder / "sheets").glob("*"))
        yield from (path for path in sheets if path.name not in named and not path.name.endswith(".tmp"))


def _outcome(one: Again) -> str:
    """One line on one figure."""
    if not one.compared:
        return f"{one.figure}: not compared: {one.why}"
    allowed = "itself" if one.low is None else f"[{_short(one.low)}, {_short(one.high)}]"
    where = f"{'inside' if one.ok else 'OUTSIDE'} {allowed}"
    return f"{one.figure} ({one.kind}): was {_short(one.was)}, is {_short(one.now)}, {where}"


def _not_compared(run: Rerun) -> str:
    if not run.timed:
        return ", times not compared: this is another machine"
    return f", latency not compared: {run.disturbance}" if run.disturbance else ""


def _name(store: Store, path: Path) -> str:
    return str(path.relative_to(store.root))


def _short(value: Any) -> str:
    text = "unknown" if value is None else f"{value:.6g}" if isinstance(value, int | float) else str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
