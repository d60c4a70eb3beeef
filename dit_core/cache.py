"""Where this machine keeps what is costly to find again and belongs to no record. Imports no torch."""

import os
import secrets
from pathlib import Path


def cache_folder() -> Path:
    """The folder named by DIT_CACHE, else `dit_core` in the user's cache folder (XDG base directories)."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("DIT_CACHE") or Path(home) / "dit_core")


def keep(path: Path, content: bytes) -> None:
    """Write a file of the cache, whole or not at all; a disk that refuses costs only the next look-up."""
    temporary = path.with_name(f".{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
