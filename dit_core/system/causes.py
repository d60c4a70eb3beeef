"""Why a file could not be read or written, in one line that says what to change. Imports no torch."""

import errno
import os
import re
import sqlite3
from collections.abc import Mapping
from pathlib import Path

RESULTS, CACHE, QUEUE = "set DIT_RESULTS", "set DIT_CACHE", "set DIT_QUEUE"  # options that move a place

# errno -> the cause, and what to do where the file stays in its place; "" if only another place helps
_CAUSES: Mapping[int, tuple[str, str]] = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), ("the disk is full", "free some space")),
    **dict.fromkeys((errno.EACCES, errno.EPERM), ("permission is denied", "change its permissions")),
    errno.EROFS: ("its disk is read-only", ""),
    errno.ENOENT: ("there is no such file or folder", ""),
    errno.ENOTDIR: ("a part of the path is a file", ""),
    errno.EEXIST: ("a file is in its place", "remove that file"),
    errno.EISDIR: ("it is a folder", ""),
    errno.ENAMETOOLONG: ("the name is too long", ""),
    errno.ELOOP: ("its links form a circle", ""),
    errno.EIO: ("the disk reports an error", "check the disk"),
    errno.ESTALE: ("its network disk lost the connection", "try again"),
    errno.EFBIG: ("the file is too large for its disk", ""),
    errno.EBUSY: ("another program uses it", "try again"),
    errno.ETXTBSY: ("another program uses it", "try again"),
    errno.ENOMEM: ("memory ran out", "end other programs"),
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), ("too many files are open", "raise the limit (ulimit -n)")),
    **dict.fromkeys((errno.ENOLCK, errno.EDEADLK), ("its disk has no file locks", "")),
    **dict.fromkeys((errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK), ("its disk does not support the operation", "")),
}
# messages of SQLite -> the same, because its errors have no errno
_SQLITE: Mapping[str, int] = {
    "disk is full": errno.ENOSPC,
    "readonly database": errno.EROFS,
    "unable to open": errno.EACCES,
    "locking protocol": errno.ENOLCK,
    "disk i/o error": errno.EIO,
}
_SQLITE_OWN = {
    "database is locked": ("another program holds it", "try again"),
    "malformed": ("the file is damaged", "move it away"),
    "not a database": ("the file is damaged", "move it away"),
}


def cause_of(error: BaseException) -> str:
    """Return the cause as a clause: "the disk is full"."""
    return known(error)[0]


def not_read(path: Path | str, error: BaseException) -> str:
    """Return the message for a file that could not be read."""
    cause, remedy = known(error)
    return f"{path} cannot be read, because {cause}" + (f": {remedy}." if remedy else ".")


def not_written(path: Path | str, error: BaseException, move: str = "name another place") -> str:
    """Return the message for a file or folder that could not be written.

    `move` is what moves the place: "set DIT_RESULTS", or "name another file".
    """
    cause, remedy = known(error)
    return f"{path} cannot be written, because {cause}: {f'{remedy}, or ' if remedy else ''}{elsewhere(move)}."


def size(value: float) -> str:
    """Return bytes in decimal units: "18.4 MB"."""
    units = ("B", "kB", "MB", "GB", "TB")
    power = 0
    while value >= 999.5 and power < len(units) - 1:
        value, power = value / 1000, power + 1
    digits = f"{value:#.3g}".rstrip(".") if value else "0"
    return f"{digits} {units[power]}"


def elsewhere(move: str) -> str:
    """Return what moves a place as a request: "set DIT_RESULTS to another folder", or "name another file"."""
    return f"{move} to another folder" if move.startswith("set ") else move


def system_error(error: BaseException | None) -> OSError | None:
    """Return the error of the system, with a known cause, that an error is or was caused by; None without one."""
    if error is None:
        return None
    if isinstance(error, OSError) and error.errno in _CAUSES:
        return error
    if match := re.search(r"\(os error (\d+)\)", str(error)):  # of a library in Rust, such as safetensors
        return OSError(int(match[1]), os.strerror(int(match[1])))
    return system_error(error.__cause__ or error.__context__)


def is_disk_full(error: BaseException | None) -> bool:
    """Return whether an error, or one that caused it, says that the disk is full."""
    cause = system_error(error)
    return cause is not None and cause.errno in (errno.ENOSPC, errno.EDQUOT)


def known(error: BaseException) -> tuple[str, str]:
    """Return the cause as a clause, and what to do if the file stays in its place; "" if only another place helps."""
    text = str(error).lower()
    if isinstance(error, UnicodeDecodeError):
        return "the file is damaged", "move it away"
    if isinstance(error, sqlite3.Error):
        if own := next((each for words, each in _SQLITE_OWN.items() if words in text), None):
            return own
        number = next((number for words, number in _SQLITE.items() if words in text), None)
    else:
        number = error.errno if isinstance(error, OSError) else None
    if number is not None and number in _CAUSES:
        return _CAUSES[number]
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error).strip() or type(error).__name__
    return reason.splitlines()[0], ""
