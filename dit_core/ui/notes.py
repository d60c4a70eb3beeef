"""Names, notes and pins that people give to runs, shared by all browsers. Imports no Streamlit.

    local/notes/3f2a91c0d4e7-local.json      the note of one record, named as in links

One file for each record, so that two people who annotate two runs at the same time lose nothing.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

from dit_core.records.places import results_root
from dit_core.system.files import write_text

LONGEST_NAME, LONGEST_TEXT = 60, 2000  # characters


@dataclass(frozen=True)
class Note:
    """What people wrote about a run. A pinned run is always labelled on plots and comes first in the table."""

    name: str = ""
    text: str = ""
    pinned: bool = False


def folder() -> Path:
    """Return the folder of the notes."""
    return results_root() / "local" / "notes"


def read() -> Mapping[str, Note]:
    """Return the notes by the name of their record in links (`comparisons.point_id`). Damaged files are left out."""
    try:
        files = sorted((path, path.stat().st_mtime_ns) for path in folder().glob("*.json"))
    except OSError:
        return {}
    return _read(tuple(files))


def write(identifier: str, note: Note) -> None:
    """Keep the note of a record; an empty note removes it. Raises OSError if the disk refuses."""
    path = folder() / f"{identifier}.json"
    if note == Note():
        path.unlink(missing_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = Note(note.name.strip()[:LONGEST_NAME], note.text.strip()[:LONGEST_TEXT], note.pinned)
    write_text(json.dumps(asdict(kept)), path)


@lru_cache(maxsize=4)
def _read(files: tuple[tuple[Path, int], ...]) -> Mapping[str, Note]:
    found = {}
    for path, _ in files:
        try:
            content = json.loads(path.read_text())
            found[path.stem] = Note(str(content["name"]), str(content["text"]), content["pinned"] is True)
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return found
