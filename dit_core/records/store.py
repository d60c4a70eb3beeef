"""Records and sample sheets on disk: written once, never overwritten, checked whenever they are read.

    cached_results/                         bundled: committed, ships with the project
      depth_pruning-keep6-3f2a91.json       the record: recipe, then the first six digits of its run id
      depth_pruning-keep6-3f2a91.2.json     a repetition of the same run
      sheets/<hash>.webp                    lossless sheets named by their content: runs share the baseline's sheet
      local/                                records of this machine in the same layout, ignored by git
      imported/                             records of other machines in the same layout, ignored by git

The run id inside the file counts; the words before it in the name are for people. Records of earlier versions, named
`<run_id>.json`, are read too.

A file appears whole or not at all: the content is written to a temporary file, synchronized, and then linked to its
name, which fails if another writer was first. Sheets are on disk before the record that names them. A record that fails
a check is skipped and listed with the reason.
"""

import hashlib
import json
import os
import re
import time
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import count
from pathlib import Path
from typing import Literal

from dit_core.records.places import bundled_root, results_root, unsaved_places
from dit_core.records.record import RecordError, RunRecord
from dit_core.records.spec import RunSpec
from dit_core.system import causes, files
from dit_core.system.files import create_bytes, sync_names

Origin = Literal["local", "bundled", "imported"]
SHEETS = {"candidate": "sheet", "baseline": "baseline_sheet"}  # which sheet -> its key in the record's samples
ID_DIGITS = 6  # of the run id, in a file's name
_NAME = re.compile(r"(?:(?:.+-)?([0-9a-f]{6})|([0-9a-f]{12}))(?:\.([1-9]\d*))?\.json")
_LONGEST_NAME = 120  # characters before the id
_STALE_S = 3600.0  # the writer of a temporary file of this age is gone


class StoreError(RuntimeError):
    """Nothing was written. The message says why, in one line."""


class NotSaved(StoreError):
    """A finished run could not be put into the store. `record` is its record; the message says where it is kept."""

    def __init__(self, message: str, record: RunRecord) -> None:
        super().__init__(message)
        self.record = record


class RecordExists(StoreError):
    """The store holds a record of this run. Put the new one with `again=True` to keep both."""


@dataclass(frozen=True)
class Stored:
    """A record that passed all checks, and its file. Callers share records: read them, do not change them."""

    record: RunRecord
    origin: Origin
    path: Path

    @property
    def repetition(self) -> int:
        """Number of this measurement of its run in its folder, from 1."""
        return _repetition(self.path.name)

    @property
    def point_id(self) -> str:
        """The name of the record in links and commands: `3f2a91c0d4e7.2-local` for the second local one of its run.

        It does not depend on the readable part of the file name, so that links to a record stay valid.
        """
        repetition = f".{self.repetition}" if self.repetition > 1 else ""
        return f"{self.record.run_id}{repetition}{'' if self.origin == 'bundled' else f'-{self.origin}'}"

    @property
    def recency(self) -> tuple[str, bool, int, str]:
        """Sort key: the newest record is the largest, also of records of one run that were made in the same second."""
        return str(self.record.created_at), self.origin == "local", self.repetition, self.path.name


@dataclass(frozen=True)
class Skipped:
    """A file that failed a check, and the reason in a few words."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Loaded:
    """The content of the store: records, newest first, and the files that were skipped."""

    records: list[Stored]
    skipped: list[Skipped]


class Store:
    """The records under one folder. A store has no state: make one wherever you need it."""

    def __init__(self, root: Path | None = None) -> None:
        self.root = Path(root) if root else results_root()
        self._move = "name another folder" if root else causes.RESULTS  # what moves the place
        self.folders: dict[Origin, Path] = {
            "local": self.root / "local",
            "bundled": bundled_root(self.root),
            "imported": self.root / "imported",
        }

    def probe(self, *, local: bool = True) -> None:
        """Raise StoreError if no record can be written, so that nothing is measured in vain."""
        folder = self.folders["local" if local else "bundled"]
        try:
            files.probe(folder / "sheets")
            files.probe(folder)
        except OSError as error:
            raise StoreError(f"No record can be saved: {causes.not_written(folder, error, self._move)}") from error

    def put_or_keep(
        self, record: RunRecord, sheets: dict[str, bytes], *, name: str = "", local: bool = True, again: bool = False
    ) -> Path:
        """Put a record and return its path; if the disk refuses, keep it in one of `unsaved_places`.

        Raises RecordExists as `put` does, and NotSaved, with the record and the file that keeps it.
        """
        try:
            return self.put(record, sheets, name=name, local=local, again=again)
        except RecordExists:
            raise
        except (StoreError, RecordError) as error:
            where = "It is kept nowhere else: copy it from the output of this command."
            for place in unsaved_places():
                with suppress(StoreError, RecordError):
                    kept = Store(place).put(record, sheets, name=name, local=False, again=True)
                    where = f"It is kept as {kept}: move it into {self.folders['local' if local else 'bundled']}."
                    break
            raise NotSaved(f"{error} {where}", record) from error

    def put(
        self,
        record: RunRecord,
        sheets: dict[str, bytes],
        *,
        name: str = "",
        local: bool = True,
        again: bool = False,
        imported: bool = False,
    ) -> Path:
        """Write a record with its sheets ("candidate", "baseline": lossless WebP) and return the record's path.

        `name` is the readable part of the file's name (`dit_core.recipes.naming`); by default the techniques' names.
        The sheets' file names are filled in here; a sheet that is not given is null and needs a reason. Earlier results
        stay as they are. `imported` puts the record among those of other machines.

        Raises RecordError if the record could not be read back, RecordExists if the run has a record and `again` is not
        set, StoreError if the disk refuses.
        """
        origin: Origin = "imported" if imported else "local" if local else "bundled"
        folder = self.folders[origin]
        named = {key: _sheet_name(sheets[which]) if which in sheets else None for which, key in SHEETS.items()}
        record = replace(record, samples={**record.samples, **named})
        RunRecord.from_dict(record.to_dict())
        data = record.to_json().encode()
        try:
            (folder / "sheets").mkdir(parents=True, exist_ok=True)
            _sweep(folder, folder / "sheets")
            for sheet in sheets.values():
                with suppress(FileExistsError):
                    create_bytes(sheet, folder / "sheets" / _sheet_name(sheet))
            sync_names(folder / "sheets")
            return self._write(
                origin, f"{_readable(record, name)}-{record.run_id[:ID_DIGITS]}", record.run_id, data, again
            )
        except OSError as error:
            message = f"The record was not saved: {causes.not_written(folder, error, self._move)}"
            raise StoreError(message) from error

    def _write(self, origin: Origin, stem: str, run_id: str, data: bytes, again: bool) -> Path:
        """Write the record under the next free number of its run."""
        folder = self.folders[origin]
        taken = [_repetition(item.path.name) for item in self._read(origin, run_id) if isinstance(item, Stored)]
        message = f"The run {run_id} already has a record in {folder}. Measure it again to keep both."
        if taken and not again:
            raise RecordExists(message)
        for number in count(max(taken, default=0) + 1):
            path = folder / (f"{stem}.json" if number == 1 else f"{stem}.{number}.json")
            try:
                create_bytes(data, path)
                return path
            except FileExistsError as error:  # another writer was faster
                if not again:
                    raise RecordExists(message) from error
        raise AssertionError("unreachable")

    def get(self, run_id: str, environments: Collection[str] | None = None) -> Stored | None:
        """Return the newest record of a run, a local one before a bundled or imported one; None if there is none.

        With `environments`, only records whose environment has one of these fingerprints count.
        """
        for origin in self.folders:
            records = [item for item in self._read(origin, run_id) if isinstance(item, Stored)]
            if environments is not None:
                records = [item for item in records if item.record.environment["fingerprint"] in environments]
            if records:
                return max(records, key=lambda stored: _repetition(stored.path.name))
        return None

    def load(self) -> Loaded:
        """Return all records, newest first, and the skipped files. A process parses an unchanged file once."""
        items = [item for origin in self.folders for item in self._read(origin)]
        records = [item for item in items if isinstance(item, Stored)]
        records.sort(key=lambda stored: stored.recency, reverse=True)
        unreadable = [Skipped(folder, reason) for folder in self.folders.values() if (reason := _problem(folder))]
        return Loaded(records, [*unreadable, *(item for item in items if isinstance(item, Skipped))])

    def check_readable(self) -> None:
        """Raise StoreError if the folder of the records is there and cannot be read."""
        for folder in self.folders.values():
            if reason := _problem(folder):
                raise StoreError(f"{folder} {reason}: {causes.elsewhere(self._move)}.")

    def sheet(self, stored: Stored, which: str) -> bytes | None:
        """Return the "candidate" or "baseline" sheet as WebP; None if it was not made, is missing or is damaged."""
        name = stored.record.samples.get(SHEETS[which])
        if not isinstance(name, str) or Path(name).name != name:
            return None
        with suppress(OSError):
            data = (stored.path.parent / "sheets" / name).read_bytes()
            return data if _sheet_name(data) == name else None
        return None

    def version(self) -> str:
        """Return a key for caches that changes whenever a record appears, changes or disappears.

        It costs one listing of each folder.
        """
        entries = ((e.name, *_stamp(e)) for folder in self.folders.values() for e in _entries(folder))
        return hashlib.sha256(repr(list(entries)).encode()).hexdigest()[:16]

    def _read(self, origin: Origin, run_id: str | None = None) -> Iterator[Stored | Skipped]:
        """All files of one origin, or those whose name fits a run."""
        for entry in _entries(self.folders[origin]):
            match = _NAME.fullmatch(entry.name)
            named_id = (match[1] or match[2]) if match else ""
            if run_id is not None and not (named_id and run_id.startswith(named_id)):
                continue
            path = Path(entry.path)
            try:
                parsed = _parse(path, *_stamp(entry)) if match else "its name does not end in a run id"
            except OSError as error:
                parsed = f"cannot be read, because {causes.cause_of(error)}"
            if isinstance(parsed, RunRecord) and not parsed.run_id.startswith(named_id):
                parsed = "its run_id does not belong to its name"
            if isinstance(parsed, str):
                yield Skipped(path, parsed)
            elif run_id in (None, parsed.run_id):
                yield Stored(parsed, origin, path)


@lru_cache(maxsize=16384)
def _parse(path: Path, mtime_ns: int, size: int) -> RunRecord | str:
    """The record in this state of the file, or the reason why it is none."""
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
    """The JSON files of a folder in order of name, without temporary files; none if there is no such folder."""
    try:
        with os.scandir(folder) as listing:
            entries = [entry for entry in listing if entry.name.endswith(".json") and not entry.name.startswith(".")]
    except OSError:  # there is no such folder, or `_problem` says why it cannot be listed
        return []
    return sorted(entries, key=lambda entry: entry.name)


def _problem(folder: Path) -> str:
    """Return why a folder cannot be listed; empty if it can, or if there is no such folder."""
    try:
        os.scandir(folder).close()
    except FileNotFoundError:
        return ""
    except OSError as error:
        return f"cannot be read, because {causes.cause_of(error)}"
    return ""


def _stamp(entry: os.DirEntry[str]) -> tuple[int, int]:
    try:
        status = entry.stat()
    except FileNotFoundError:  # a broken link, or a file deleted at this moment: reading it gives the reason
        return 0, 0
    return status.st_mtime_ns, status.st_size


def _repetition(name: str) -> int:
    """Which repetition of its run a file holds, from 1."""
    match = _NAME.fullmatch(name)
    return int(match[3] or 1) if match else 0


def _readable(record: RunRecord, name: str) -> str:
    """The readable part of a record's file name: the model unless it is the usual one, then the recipe."""
    words = name or "+".join(technique["name"] for technique in record.spec["techniques"]) or "baseline"
    model = Path(record.spec["model"]).name if Path(record.spec["model"]).is_absolute() else record.spec["model"]
    words = words if model == RunSpec().model else f"{model}-{words}"
    return re.sub(r"[^\w.+@-]+", "_", words)[:_LONGEST_NAME]


def _sheet_name(data: bytes) -> str:
    return f"{hashlib.sha256(data).hexdigest()[:16]}.webp"


def _sweep(*folders: Path) -> None:
    """Delete the temporary files of writers that were killed."""
    for folder in folders:
        for temporary in folder.glob(".*.tmp"):
            with suppress(FileNotFoundError):
                if time.time() - temporary.stat().st_mtime > _STALE_S:
                    temporary.unlink()
