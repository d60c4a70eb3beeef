"""Folders of a user: the cache, for files that are costly to compute, and data that is kept. Imports no torch."""

import os
from contextlib import suppress
from pathlib import Path

from dit_core.system.files import replace_bytes


def cache_folder() -> Path:
    """The folder of the variable DIT_CACHE, else `dit_core` in the user's cache folder (XDG base directories)."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("DIT_CACHE") or Path(home) / "dit_core")


def data_folder() -> Path:
    """The folder of the variable DIT_DATA, else `dit_core` in the user's data folder (XDG base directories)."""
    home = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(os.environ.get("DIT_DATA") or Path(home) / "dit_core").expanduser()


def keep(path: Path, content: bytes) -> None:
    """Write a file of the cache. If the disk refuses, the content is only computed again."""
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_bytes(content, path)
