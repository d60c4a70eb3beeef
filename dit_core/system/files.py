"""Files that are complete or absent for every reader: a temporary file gets the final name. Imports no torch."""

import errno
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from filelock import FileLock

from dit_core.errors import BadRequest
from dit_core.system import causes

_NO_HARD_LINKS = (errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV, errno.EINVAL)
_NO_FOLDER_SYNC = (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF)
_LOCK_S = 10.0


def user_path(name: str | os.PathLike[str]) -> Path:
    """Return the path that a person named: `~` and `~user` at its start are home folders, as in a shell."""
    return Path(os.path.expanduser(name))  # noqa: PTH111 (Path.expanduser fails for a user that does not exist)


def named_path(name: str | os.PathLike[str]) -> Path:
    """Return the path that a person named, which need not exist. Raises BadRequest if the system refuses to look at it.

    The methods of Path that look at a file raise then, or answer that there is none, which is not the reason.
    """
    path = user_path(name)
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return path
    except OSError as error:
        cause, remedy = causes.known(error)
        raise BadRequest(f"{path} cannot be used, because {cause}: {remedy or 'name another path'}.") from error
    except ValueError as error:
        raise BadRequest(f"{str(path)!r} has a null character, which no path has: remove it.") from error
    return path


def check_space(path: Path, needed_bytes: int, what: str, move: str) -> None:
    """Raise BadRequest if `what` of this size does not fit on the disk of a path, which need not exist yet.

    `move` is what moves the place, as in `causes.not_written`.
    """
    place = next(parent for parent in (path.absolute(), *path.absolute().parents) if parent.exists())
    if (free := shutil.disk_usage(place).free) < needed_bytes:
        raise BadRequest(
            f"{what} needs {causes.size(needed_bytes)}, and the disk of {place} has {causes.size(free)} left: free "
            f"some space, or {causes.elsewhere(move)}."
        )


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
        _name(temporary, path)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder to fill, which becomes `path` at the end; if filling it fails, nothing of it is left.

    `path` must be missing or empty. Raises OSError if the folder cannot be written.
    """
    if path.exists():  # it may be the root of a disk, which cannot be replaced
        try:
            yield path
        except BaseException:
            for entry in path.iterdir():
                shutil.rmtree(entry, ignore_errors=True) if entry.is_dir() else entry.unlink(missing_ok=True)
            raise
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{os.getpid()}-{secrets.token_hex(4)}.tmp")
    temporary.mkdir()
    try:
        yield temporary
        temporary.rename(path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def write_with(write: Callable[[IO[bytes]], object], path: Path) -> None:
    """Replace the file at `path` by what `write` writes into a stream; a failure leaves the old file as it was."""
    with _temporary(path) as temporary:
        with temporary.open("xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        with suppress(OSError):
            shutil.copymode(path, temporary)
        temporary.replace(path)


def probe(folder: Path) -> None:
    """Raise OSError if no file can be written into a folder, which is made if it is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    with _temporary(folder / "probe") as temporary:
        _write_durably(b"x" * 4096, temporary)


def sync_names(folder: Path) -> None:
    """Make the names of the files in a folder survive a crash of the machine, where its disk can do that."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except PermissionError:  # Windows opens no folders
        return
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise
    finally:
        os.close(handle)


def _name(temporary: Path, path: Path) -> None:
    """Give a temporary file its name. Of several writers one wins; the others get FileExistsError."""
    try:
        os.link(temporary, path)
    except OSError as error:
        if isinstance(error, FileExistsError) or error.errno not in _NO_HARD_LINKS:
            raise
        lock = FileLock(path.with_name(".names.lock"), timeout=_LOCK_S)
        with suppress(NotImplementedError, OSError):  # without links and locks, only the check below is left
            lock.acquire()
        try:
            if os.path.lexists(path):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
            temporary.replace(path)
        finally:
            lock.release()


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
