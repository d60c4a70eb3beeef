"""The sample sheets of records as PNG images for the screen. Knows no Streamlit."""

from functools import lru_cache
from pathlib import Path

from dit_core.records.record import RunRecord
from dit_core.records.store import Store, Stored
from dit_core.ui import images


def labels(record: RunRecord) -> tuple[str, ...]:
    """Return the class names of the images on a record's sheets, in order."""
    return tuple(map(str, record.samples.get("labels") or ()))


def sheet(stored: Stored, side: str, across: int | None = None, count: int | None = None) -> bytes | None:
    """Return a sheet with a label under each image, `across` images in a row; None if it is missing or damaged.

    `side` is "baseline" or "candidate"; with `count`, only so many images.
    """
    file, (tile, columns) = Store().sheet(stored, side), _grid(stored.record)
    return images.labelled(file, tile, columns, labels(stored.record)[:count], across or columns) if file else None


def strip(stored: Stored, side: str, positions: tuple[int, ...]) -> bytes | None:
    """Return the images at these positions of a sheet in one row, enlarged; None if it is missing or damaged."""
    file = Store().sheet(stored, side)
    return images.strip(file, *_grid(stored.record), positions) if file else None


def tiles(stored: Stored, positions: tuple[int, ...], across: int) -> bytes | None:
    """Return images of a run's sheet at their own size, `across` in a row; None if it is missing or damaged."""
    file = Store().sheet(stored, "candidate")
    return images.tiles(file, *_grid(stored.record), positions, across) if file else None


def preview(path: Path) -> bytes | None:
    """Return the enlarged image that a running job last wrote to `path`; None before the first one."""
    try:
        status = path.stat()
    except OSError:
        return None
    return _preview(path, status.st_mtime_ns, status.st_size)


def _grid(record: RunRecord) -> tuple[int, int]:
    """Edge of a tile in pixels, and tiles in a row."""
    return int(record.samples.get("tile") or 0), int(record.samples.get("columns") or 0)


@lru_cache(maxsize=32)
def _preview(path: Path, mtime_ns: int, size: int) -> bytes | None:
    try:
        return images.enlarge(path.read_bytes())
    except OSError:
        return None
