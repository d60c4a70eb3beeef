"""Files that are there whole or not at all. Imports no torch."""

import os
from pathlib import Path


def write_bytes(content: bytes, path: Path) -> None:
    """All of `content` under `path`, or what was there before: temporary file, fsync, rename."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(text: str, path: Path) -> None:
    write_bytes(text.encode(), path)
