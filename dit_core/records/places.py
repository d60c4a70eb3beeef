"""Where records are: the results folder, the bundled results, and places for records that found no room there."""

import os
import tempfile
from pathlib import Path

from dit_core.system.cache import HOME, INSTALLED, cache_folder, data_folder
from dit_core.system.files import user_path

BUNDLED = HOME / "cached_results"
UNSAVED = "unsaved"  # folder of records that could not be put into their store


def results_root() -> Path:
    """Return the folder of the variable DIT_RESULTS, else `cached_results/`.

    Of an installed program, this is a folder of the user, to which `bundled_root` adds the bundled records.
    """
    default = data_folder() / "results" if INSTALLED else BUNDLED
    return user_path(os.environ.get("DIT_RESULTS") or default).resolve()


def bundled_root(root: Path) -> Path:
    """Return the folder of the bundled results of a results folder."""
    return BUNDLED if INSTALLED and root == (data_folder() / "results").resolve() else root


def unsaved_places() -> tuple[Path, ...]:
    """Folders for finished work that could not be written to its place, best first."""
    return cache_folder() / UNSAVED, Path(tempfile.gettempdir()) / f"dit-core-{UNSAVED}"
