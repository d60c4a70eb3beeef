"""Files that are complete or absent for every reader: a temporary file gets the final name. Imports no torch."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def write_bytes(content: bytes, path: Path) -> None:
    """Replace the file at `path`, so that it survives a crash of the machine (fsync)."""
    with _temporary(path) as temporary:
        _write_durably(content, temporary)
        temporary.replace(path)


def write_text(text: str, path: Path) -> None:
    write_bytes(text.encode(), path)


def replace_bytes(content: bytes, path: Path) -> None:
    """Replace the file at `path` without waiting for the disk."""
    with _temporary(path) as temporary:
        temporary.write_bytes(content)
        temporary.replace(path)


def create_bytes(content: bytes, path: Path) -> None:
    """Create the file at `path`, content and name safe from a crash. Raises FileExistsError if the name is taken."""
    with new_file(path) as temporary:
        _write_durably(content, temporary)
    sync_names(path.parent)


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """A temporary file to fill, which becomes `path` at the end. Raises FileExistsError if the name is taken."""
    with _temporary(path) as temporary:
        yield temporary
        os.link(temporary, path)  # of several writers one wins


def sync_names(folder: Path) -> None:
    """Make the names of the files in a folder survive a crash of the machine."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _temporary(path: Path) -> Iterator[Path]:
    temporary = path.with_name(f".{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def _write_durably(content: bytes, path: Path) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
