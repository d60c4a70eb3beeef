"""Models that a person keeps under a short name, with options for what their files do not tell. Imports no torch.

They are in `models.json` in the user's data folder (`system.cache.data_folder`).
"""

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from dit_core.errors import BadRequest
from dit_core.models.sources.base import FileState, file_state
from dit_core.models.sources.options import Options
from dit_core.system import causes
from dit_core.system.cache import data_folder
from dit_core.system.files import write_text

FILE = "models.json"
_NAME = re.compile(r"[\w][\w.-]{0,63}")


@dataclass(frozen=True)
class Entry:
    """A model that is kept: the name or the absolute path that it has elsewhere, and its options."""

    target: str
    options: Options


def path() -> Path:
    """Return the file of the models that are kept."""
    return data_folder() / FILE


def entries() -> dict[str, Entry]:
    """Return the models that are kept, by name. Raises BadRequest if their file is damaged."""
    state = file_state(path())
    return _entries(path(), state) if state else {}


def check_name(name: str) -> None:
    """Raise BadRequest if a name is not short and plain, so that it could be a path or part of a command."""
    if not _NAME.fullmatch(name):
        raise BadRequest(f"{name!r} cannot be a name: use up to 64 letters, digits, points, hyphens and underscores.")


def keep(name: str, entry: Entry) -> None:
    """Write a model into the file, in place of one with the same name."""
    check_name(name)
    _write({**entries(), name: entry})


def remove(name: str) -> None:
    """Forget a model. Its files stay. Raises BadRequest if there is none with this name."""
    kept = dict(entries())
    if name not in kept:
        raise BadRequest(f"No model is kept as {name!r}: the names are {', '.join(kept) or 'none so far'}.")
    del kept[name]
    _write(kept)


@lru_cache(maxsize=8)
def _entries(file: Path, state: FileState) -> dict[str, Entry]:
    try:
        data: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return {name: Entry(str(each["target"]), Options.from_dict(each["options"])) for name, each in data.items()}
    except OSError as error:
        raise BadRequest(causes.not_read(file, error)) from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise BadRequest(f"{file} is damaged ({error}): delete it and add your models again.") from error


def _write(kept: dict[str, Entry]) -> None:
    data = {name: {"target": entry.target, "options": entry.options.to_dict()} for name, entry in kept.items()}
    try:
        path().parent.mkdir(parents=True, exist_ok=True)
        write_text(json.dumps(data, indent=1) + "\n", path())
    except OSError as error:
        raise BadRequest(causes.not_written(path(), error, "set DIT_DATA")) from error
