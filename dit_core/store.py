"""Records and sample sheets on disk: written once, never overwritten, read with suspicion.

    cached_results/            bundled: committed, ships with the project
      <run_id>.json            the record; a repetition of the same run is <run_id>.2.json, and so on
      sheets/<hash>.webp       lossless sheets named by their content: one baseline of many runs is one file
      local/                   what this machine measured, in the same layout, ignored by git

A file appears whole or not at all: temporary file, fsync, then an exclusive hard link, so that of several writers one
wins. Sheets are on disk before the record that names them. A record that cannot be trusted is skipped and named.
"""

import hashlib
import json
import os
import re
import secrets
import time
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import count
from pathlib import Path
from typing import Literal

from dit_core import techniques
from dit_core.errors import BadRequest
from dit_core.models import recovered
from dit_core.spec import RecordError, RunRecord

ROOT = Path(__file__).resolve().parents[1] / "cached_results"
SHEETS = {"candidate": "sheet", "baseline": "baseline_sheet"}  # which sheet -> its key in the record's samples
_NAME = re.compile(r"([0-9a-f]{12})(?:\.([1-9]\d*))?\.json")
_STALE_S = 3600.0  # a temporary file of this age has no living writer


class StoreError(RuntimeError):
    """Nothing was written; the message is one line that says why."""


class RecordExists(StoreError):
    """This run was already measured; put it with `again=True` to keep both."""


@dataclass(frozen=True)
class Stored:
    """A trusted record and where it lies. Records are shared between callers: read them, do not change them."""

    record: RunRecord
    origin: Literal["bundled", "local"]
    path: Path


@dataclass(frozen=True)
class Skipped:
    """A file that is not shown, and why, in a few words."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Loaded:
    """Everything in the store: records, newest first, and the files that were skipped."""

    records: list[Stored]
    skipped: list[Skipped]


def results_root() -> Path:
    """`cached_results/`, or the folder named by the environment variable DIT_RESULTS."""
    return Path(os.environ.get("DIT_RESULTS") or ROOT).resolve()


def is_current(record: RunRecord) -> bool:
    """Whether a record was made with the weights that its recipe loads now; True where either is not known."""
    named = record.environment.get("weights")
    try:
        recipe = techniques.canonical(record.spec["techniques"])
        return named is None or recovered.weights_digest(record.spec["model"], recipe) in (None, named)
    except BadRequest:  # the model or a technique is not here
        return True


class Store:
    """The records under one folder; holds no state of its own, so make one wherever it is needed."""

    def __init__(self, root: Path | None = None) -> None:
        self.root = Path(root) if root else results_root()
        self._folders: dict[Literal["local", "bundled"], Path] = {"local": self.root / "local", "bundled": self.root}

    def put(self, record: RunRecord, sheets: dict[str, bytes], *, local: bool = True, again: bool = False) -> Path:
        """Write a record with its sheets ("candidate", "baseline": lossless WebP) and return the record's path.

        The sheets' file names are filled in here; one that is not given is null and needs a reason. Raises RecordError
        for a record that could not be read back, RecordExists if it is there already (not with `again`), StoreError if
        the disk refuses. Whatever happens, earlier results stay as they are.
        """
        folder = self._folders["local" if local else "bundled"]
        named = {key: _sheet_name(sheets[which]) if which in sheets else None for which, key in SHEETS.items()}
        record = replace(record, samples={**record.samples, **named})
        RunRecord.from_dict(record.to_dict())
        data = record.to_json().encode()
        try:
            (folder / "sheets").mkdir(parents=True, exist_ok=True)
            _sweep(folder, folder / "sheets")
            for sheet in sheets.values():
                with suppress(FileExistsError):
                    _write_once(folder / "sheets" / _sheet_name(sheet), sheet)
            _sync(folder / "sheets")
            return _write_record(folder, record.run_id, data, again)
        except OSError as error:
            where = f"{folder}: {error.strerror or error}"
            raise StoreError(f"The record was not saved in {where}. Free some space or set DIT_RESULTS.") from error

    def get(self, run_id: str, environments: Collection[str] | None = None) -> Stored | None:
        """The newest trusted record of a run, one of this machine before a bundled one; None if there is none.

        With `environments`, of those that were made in one with such a fingerprint.
        """
        for origin in self._folders:
            found = [item for item in self._read(origin, run_id) if isinstance(item, Stored)]
            if environments is not None:
                found = [item for item in found if item.record.environment["fingerprint"] in environments]
            if found:
                return max(found, key=lambda stored: _repetition(stored.path.name))
        return None

    def load(self) -> Loaded:
        """All records, newest first, and what was skipped. Unchanged files are parsed once per process."""
        items = [item for origin in self._folders for item in self._read(origin)]
        records = [item for item in items if isinstance(item, Stored)]
        records.sort(key=lambda stored: (str(stored.record.created_at), stored.path.name), reverse=True)
        return Loaded(records, [item for item in items if isinstance(item, Skipped)])

    def sheet(self, stored: Stored, which: str) -> bytes | None:
        """The "candidate" or "baseline" sheet as WebP; None if it was not made, is missing or was damaged."""
        name = stored.record.samples.get(SHEETS[which])
        if not isinstance(name, str) or Path(name).name != name:
            return None
        with suppress(OSError):
            data = (stored.path.parent / "sheets" / name).read_bytes()
            return data if _sheet_name(data) == name else None
        return None

    def version(self) -> str:
        """Changes whenever a record appears, changes or goes; costs one directory listing. A key for caches."""
        entries = ((e.name, *_stamp(e)) for folder in self._folders.values() for e in _entries(folder))
        return hashlib.sha256(repr(list(entries)).encode()).hexdigest()[:16]

    def _read(self, origin: Literal["local", "bundled"], run_id: str | None = None) -> Iterator[Stored | Skipped]:
        for entry in _entries(self._folders[origin]):
            match = _NAME.fullmatch(entry.name)
            if run_id is not None and (not match or match[1] != run_id):
                continue
            path = Path(entry.path)
            try:
                parsed = _parse(path, *_stamp(entry)) if match else "its name is not <run_id>.json"
            except OSError as error:
                parsed = f"cannot be read: {error.strerror or error}"
            if isinstance(parsed, RunRecord) and match and parsed.run_id != match[1]:
                parsed = "its run_id does not belong to its name"
            yield Skipped(path, parsed) if isinstance(parsed, str) else Stored(parsed, origin, path)


@lru_cache(maxsize=16384)
def _parse(path: Path, mtime_ns: int, size: int) -> RunRecord | str:
    """The record in this state of the file, or what is wrong with it."""
    data = path.read_bytes()
    if not data.strip():
        return "empty"
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        return f"not whole JSON: {error}"
    try:
        return RunRecord.from_dict(content)
    except RecordError as error:
        return str(error)
    except (TypeError, AttributeError, ValueError, RecursionError):
        return "one of its sections has the wrong shape"


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """The JSON files of a folder in order of name; none if there is no such folder. Temporary files are hidden."""
    try:
        with os.scandir(folder) as listing:
            found = [entry for entry in listing if entry.name.endswith(".json") and not entry.name.startswith(".")]
    except FileNotFoundError:
        return []
    return sorted(found, key=lambda entry: entry.name)


def _stamp(entry: os.DirEntry[str]) -> tuple[int, int]:
    try:
        status = entry.stat()
    except FileNotFoundError:  # a link to nowhere, or just deleted: reading it will say so
        return 0, 0
    return status.st_mtime_ns, status.st_size


def _repetition(name: str) -> int:
    match = _NAME.fullmatch(name)
    return int(match[2] or 1) if match else 0


def _sheet_name(data: bytes) -> str:
    return f"{hashlib.sha256(data).hexdigest()[:16]}.webp"


def _write_record(folder: Path, run_id: str, data: bytes, again: bool) -> Path:
    """Under the first free name; `again` allows repetitions."""
    for n in count(1):
        path = folder / (f"{run_id}.json" if n == 1 else f"{run_id}.{n}.json")
        try:
            _write_once(path, data)
            return path
        except FileExistsError as error:
            if not again:
                raise RecordExists(
                    f"The run {run_id} is already in {folder}; ask for it again to keep both."
                ) from error
    raise AssertionError("unreachable")


def _write_once(path: Path, data: bytes) -> None:
    """All of `data` under `path`, durable, or nothing; raises FileExistsError if the name is taken."""
    temporary = path.with_name(f".{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync(path.parent)


def _sync(folder: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sweep(*folders: Path) -> None:
    """Delete what killed writers left behind."""
    for folder in folders:
        for temporary in folder.glob(".*.tmp"):
            with suppress(FileNotFoundError):
                if time.time() - temporary.stat().st_mtime > _STALE_S:
                    temporary.unlink()
