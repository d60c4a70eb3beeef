"""Records of a machine as one file, and records of other machines into this store. Imports no torch.

An archive is a zip file in the layout of a results folder: records, and `sheets/` with their pictures. An import checks
every record as `verify` does and keeps its environment, so that pages never mix it with records of this machine.
"""

import io
import re
import tempfile
import zipfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from dit_core.analysis import verify
from dit_core.errors import BadRequest
from dit_core.records.record import RunRecord
from dit_core.records.store import SHEETS, Origin, Store
from dit_core.system import causes

LARGEST_FILE = 32_000_000  # bytes of one record or sheet in an archive
MOST_FILES, MOST_BYTES = 100_000, 2_000_000_000  # of an archive, unpacked


@dataclass
class Imported:
    """The result of an import: file names of the new records, number of known ones, and refused files with reasons."""

    added: list[str] = field(default_factory=list)
    known: int = 0
    refused: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        count = len(self.added)
        parts = [f"{count} record{'s' * (count != 1)} imported", f"{self.known} already known"]
        if self.refused:
            parts.append(f"{len(self.refused)} refused")
        return ", ".join(parts)


def pack(store: Store, origins: Collection[Origin] = ("local",)) -> bytes:
    """Return all records of these origins with their sheets as a zip file. Raises BadRequest if there are none."""
    records = [stored for stored in store.load().records if stored.origin in origins]
    if not records:
        raise BadRequest(f"{store.root} has no {' or '.join(origins)} records to export.")
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        written: set[str] = set()
        for stored in records:
            _add(archive, written, stored.path.name, stored.path.read_bytes())
            for which, key in SHEETS.items():
                name, data = stored.record.samples.get(key), store.sheet(stored, which)
                if name and data:
                    _add(archive, written, f"sheets/{name}", data)
    return content.getvalue()


def merge(store: Store, source: Path | bytes) -> Imported:
    """Add the records of an archive, of a results folder or of a folder with archives to `store`.

    A record that fails a check of `verify` is refused with the reason. A record that the store has already is skipped.
    Raises BadRequest if `source` cannot be read or has no records.
    """
    result = Imported()
    known = {_content(stored.record) for stored in store.load().records}
    for folder in _folders(source):
        _merge_folder(store, Store(folder), known, result)
    if not (result.added or result.known or result.refused):
        raise BadRequest(f"{'The file' if isinstance(source, bytes) else source} has no records to import.")
    return result


def _merge_folder(store: Store, other: Store, known: set[str], result: Imported) -> None:
    loaded = other.load()
    problems = {item.path.name: item.reason for item in loaded.skipped}
    for stored in sorted(loaded.records, key=lambda stored: (stored.record.created_at, stored.path.name)):
        content = _content(stored.record)
        if content in known:
            result.known += 1
        elif problem := next(verify.record_problems(other, stored), ""):
            problems[stored.path.name] = problem
        else:
            known.add(content)
            sheets = {which: data for which in SHEETS if (data := other.sheet(stored, which))}
            name = stored.path.name.rpartition("-")[0]
            result.added.append(store.put(stored.record, sheets, name=name, imported=True, again=True).name)
    result.refused |= problems


@contextmanager
def _unpacked(data: bytes, name: str) -> Iterator[Path]:
    """The records and sheets of an archive in a temporary folder."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "sheets").mkdir()
        for target, content in _entries(data, name):
            try:
                (folder / target).write_bytes(content)
            except OSError as error:
                raise BadRequest(causes.not_written(folder, error, "set TMPDIR")) from error
        yield folder


def _entries(data: bytes, name: str) -> Iterator[tuple[str, bytes]]:
    """Yield path and content of the records and sheets in an archive, one at a time."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = [entry for entry in archive.infolist() if _target(entry.filename)]
            sizes = [entry.file_size for entry in entries]
            if len(sizes) > MOST_FILES or sum(sizes) > MOST_BYTES or max(sizes, default=0) > LARGEST_FILE:
                raise BadRequest(f"{name} is too large: export the records again, in several files.")
            contents = ((_target(entry.filename), archive.read(entry)) for entry in entries)
            while (found := next(contents, None)) is not None:
                yield found
    except BadRequest:
        raise
    except Exception as error:  # a damaged file can make zipfile raise any
        raise BadRequest(f"{name} is not a readable export of records ({error}): export it again.") from error


def _folders(source: Path | bytes) -> Iterator[Path]:
    """Yield a folder of records for every part of the source."""
    if isinstance(source, bytes):
        with _unpacked(source, "The file") as folder:
            yield folder
    elif source.is_dir():
        yield source
        for archive in sorted(source.glob("*.zip")):
            yield from _folders(archive)
    else:
        try:
            data = source.read_bytes()
        except OSError as error:
            raise BadRequest(f"{source} cannot be read: {error.strerror or error}.") from error
        with _unpacked(data, str(source)) as folder:
            yield folder


def _target(name: str) -> str:
    """Return the relative path of an archive's entry that is written; empty for anything but records and sheets."""
    path = PurePosixPath(name)
    if path.suffix == ".webp" and path.parent.name == "sheets":
        return f"sheets/{path.name}"
    return path.name if path.suffix == ".json" and not path.name.startswith(".") else ""


def _add(archive: zipfile.ZipFile, written: set[str], name: str, data: bytes) -> None:
    """Write an entry. A record whose name is taken by another origin gets the next free number of its run."""
    stem, _, suffix = name.rpartition(".")
    base, number = re.sub(r"\.\d+$", "", stem), 2
    while name in written:
        if suffix != "json":
            return  # sheets are named by their content
        name, number = f"{base}.{number}.{suffix}", number + 1
    written.add(name)
    archive.writestr(name, data)


def _content(record: RunRecord) -> str:
    """Return what makes two records equal."""
    return record.to_json(indent=None)
