"""Folders: the program's, and a user's cache, for files that are costly to compute, and kept data. Imports no torch."""

import os
from contextlib import suppress
from pathlib import Path

from dit_core.system.files import replace_bytes, user_path

_CODE = Path(__file__).resolve().parents[1]
INSTALLED = (_CODE / "home").is_dir()  # as a wheel, not as a clone
HOME = _CODE / "home" if INSTALLED else _CODE.parent  # the folder of app.py, the pages and the bundled records


def cache_folder() -> Path:
    """The folder of the variable DIT_CACHE, else `dit_core` in the user's cache folder (XDG base directories)."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return user_path(os.environ.get("DIT_CACHE") or Path(home) / "dit_core")


def data_folder() -> Path:
    """The folder of the variable DIT_DATA, else `dit_core` in the user's data folder (XDG base directories)."""
    home = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return user_path(os.environ.get("DIT_DATA") or Path(home) / "dit_core")


def keep(path: Path, content: bytes) -> None:
    """Write a file of the cache. If the disk refuses, the content is only computed again."""
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_bytes(content, path)
