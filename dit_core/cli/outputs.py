"""Files that a command writes where its user asked for them. An existing file is replaced whole or not at all."""

from collections.abc import Callable
from pathlib import Path
from typing import IO

from dit_core.errors import BadRequest
from dit_core.records.places import unsaved_places
from dit_core.records.store import StoreError
from dit_core.system import causes
from dit_core.system.files import probe, write_with

MOVE = "name another file"


def check_output(path: Path) -> None:
    """Raise BadRequest, before anything is computed, if a file cannot be written."""
    if not path.parent.is_dir() or path.is_dir():
        raise BadRequest(f"{path} cannot be written: name a file in an existing folder.")
    try:
        if not _is_special(path):
            probe(path.resolve().parent)
    except OSError as error:
        raise BadRequest(causes.not_written(path, error, MOVE)) from error


def save(content: bytes | Callable[[IO[bytes]], object], path: Path) -> None:
    """Write a file, or what a function writes into a stream; devices and pipes are written to directly.

    Raises StoreError if the disk refuses. Content that is in memory is then kept in the cache, else in the folder for
    temporary files, and the message says where.
    """
    places = () if callable(content) else unsaved_places()
    write = content if callable(content) else (lambda stream: stream.write(content))
    try:
        if _is_special(path):
            with path.open("wb") as stream:
                write(stream)
        else:
            write_with(write, path.resolve())  # the target of a link, not the link
    except OSError as error:
        message = causes.not_written(path, error, MOVE)
        for folder in places:
            kept = folder / path.name
            try:
                folder.mkdir(parents=True, exist_ok=True)
                write_with(write, kept)
            except OSError:
                continue
            raise StoreError(f"{message} It is kept as {kept}.") from error
        raise StoreError(message) from error


def _is_special(path: Path) -> bool:
    """Whether a path exists and is no file: a device, a pipe or a terminal."""
    return path.exists() and not path.is_file()
