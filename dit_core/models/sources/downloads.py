"""Space for downloads, checked before they begin. Imports no torch."""

import math
import shutil
from pathlib import Path

from dit_core.errors import BadRequest
from dit_core.models.formats.size import expected_shapes
from dit_core.models.presets import DiTConfig


def parameters(size: DiTConfig) -> int:
    """Return the number of values in the state dict of an unchanged DiT."""
    return sum(map(math.prod, expected_shapes(size).values()))


def check_space(folder: Path, needed_bytes: int, variable: str) -> None:
    """Raise BadRequest, with the environment variable that moves the folder, if a download does not fit on its disk."""
    place = next((parent for parent in (folder, *folder.parents) if parent.exists()), Path())
    free = shutil.disk_usage(place).free
    if free < needed_bytes:
        raise BadRequest(
            f"The download needs {needed_bytes / 1e9:.1f} GB, and {place} has {free / 1e9:.1f} GB: free some space, or "
            f"set {variable} to a folder on another disk."
        )
