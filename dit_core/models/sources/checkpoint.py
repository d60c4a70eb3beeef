"""A checkpoint of DiT or fast-DiT by its path: a training state or a state dict, in one file or in shards."""

from functools import lru_cache
from pathlib import Path

from dit_core.models.formats import headers
from dit_core.models.sources.base import FileState, file_state
from dit_core.models.sources.weights import Weights
from dit_core.system.files import user_path


class Checkpoint(Weights):
    """A file of weights by its path, or a folder of shards."""

    path_of = "a checkpoint"

    @classmethod
    def find(cls, name: str) -> "Checkpoint | None":
        path = user_path(name)
        states = _states(path)
        return _checkpoint(name, path, states) if states else None


@lru_cache(maxsize=32)
def _checkpoint(name: str, path: Path, states: tuple[FileState | None, ...]) -> Checkpoint:
    """Return the source of a file, read once for each state of its files."""
    return Checkpoint(name, path)


def _states(path: Path) -> tuple[FileState | None, ...]:
    """Return the states of a checkpoint's files; empty if there is no checkpoint at the path."""
    try:
        is_checkpoint = path.is_file() or (any(path.glob(f"*{headers.INDEX}")) and not (path / "config.json").exists())
    except (OSError, ValueError):  # no file can have this name
        return ()
    return tuple(map(file_state, headers.files_of(path))) if is_checkpoint else ()
