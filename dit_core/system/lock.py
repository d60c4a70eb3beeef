"""A file lock that the operating system releases when its holder ends, however it ends. Imports no torch."""

import json
import os
import random
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

try:
    import fcntl as _fcntl

    fcntl: Any = _fcntl
except ImportError:  # Windows
    fcntl = None

# Notes have a fixed length in bytes: writing one never needs a new disk block, and no reader sees half of one.
_NOTE_BYTES = 80
_SHARED_S = 0.2  # longer than `holder` of another process has the lock


class Lock:
    """An exclusive lock on a file, with a note that names its holder."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._portable = None if fcntl else FileLock(f"{path}.held")
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)

    def take(self) -> bool:
        """Take the lock and return True; return False if another process holds it.

        `holder` shares the lock for a moment, so a failed attempt is repeated until it is clear who has it.
        """
        while not self._try(exclusive=True):
            if not self._try(exclusive=False):
                return False
            self._release()
            time.sleep(random.uniform(0.001, 0.01))
        note = json.dumps({"pid": os.getpid(), "since": time.time()})
        os.lseek(self._file, 0, os.SEEK_SET)
        os.write(self._file, note.ljust(_NOTE_BYTES).encode())
        return True

    def share(self) -> None:
        """Take the lock together with others that share it; wait for a moment if one process has it alone."""
        with suppress(OSError, Timeout):
            if self._portable:
                self._portable.acquire(timeout=_SHARED_S)
            else:
                fcntl.flock(self._file, fcntl.LOCK_SH)

    def is_held(self) -> bool:
        """Whether another process holds the lock, alone or shared."""
        if self._try(exclusive=True):
            self._release()
            return False
        return True

    def holder(self) -> dict[str, Any] | None:
        """Return `{"pid", "since"}` of the holder, {} if it has not written its note yet, None if the lock is free."""
        if self._try(exclusive=False):
            self._release()
            return None
        with suppress(ValueError):
            os.lseek(self._file, 0, os.SEEK_SET)
            return json.loads(os.read(self._file, _NOTE_BYTES))
        return {}

    def lost(self) -> bool:
        """Whether the file was deleted or replaced, so that the lock no longer excludes other processes."""
        try:
            return not os.path.samestat(self.path.stat(), os.fstat(self._file))
        except OSError:
            return True

    def close(self) -> None:
        if self._portable:
            self._portable.release()
        os.close(self._file)

    def _try(self, *, exclusive: bool) -> bool:
        """Take the lock if it is free. Without `fcntl` a shared lock is exclusive, too."""
        try:
            if self._portable:
                self._portable.acquire(timeout=0 if exclusive else _SHARED_S)
            else:
                fcntl.flock(self._file, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except (BlockingIOError, Timeout):
            return False
        return True

    def _release(self) -> None:
        if self._portable:
            self._portable.release()
        else:
            fcntl.flock(self._file, fcntl.LOCK_UN)
