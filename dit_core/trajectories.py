"""How images form: what a run took each of them to be after every step, kept beside its record. Imports no torch.

    trajectories/<images>-<weights>.webp    lossless; a row for each image, a column for each step

A picture follows from the spec and the weights alone, so it is named by both and can be drawn again at any time. Runs
that differ only in what is timed or judged make the same images and share one.
"""

import io
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from dit_core.files import write_bytes
from dit_core.models import catalog
from dit_core.spec import RunRecord, RunSpec
from dit_core.store import Stored

FOLDER = "trajectories"
EVERY, MOST = 3, 4  # of a sheet, every third image, four at most: their steps outweigh all else that a run keeps
_NAME = re.compile(r"[0-9a-f]{12}-([0-9a-f]{12}|unnamed)\.webp")


@dataclass(frozen=True)
class Trajectory:
    """`webp` has a row for each of `places`, the images' numbers in the run's sheet, and a column for each step."""

    webp: bytes
    tile: int
    steps: int
    places: tuple[int, ...]


def places(images: int) -> tuple[int, ...]:
    """Which images of a sheet are kept, so that as many classes as rows are among them."""
    return tuple(range(0, images, EVERY))[:MOST]


def path_of(stored: Stored) -> Path:
    """Where the trajectory of a stored run lies, or would."""
    return stored.path.parent / FOLDER / _name(stored.record)


def wanted(record: RunRecord) -> bool:
    """Whether the run's images mean anything: those of random weights do not."""
    return record.status == "done" and not catalog.is_random(record.spec["model"])


def write(stored: Stored, webp: bytes) -> None:
    """Keep the trajectory of a stored run."""
    path = path_of(stored)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(webp, path)


def read(stored: Stored) -> Trajectory | None:
    """The trajectory of a stored run; None where none was kept or its file is no such picture."""
    tile, kept = stored.record.samples.get("tile"), places(len(stored.record.samples.get("labels") or ()))
    with suppress(OSError):
        data = path_of(stored).read_bytes()
        size = _size(data)
        if tile and kept and size and size[1] == len(kept) * tile and size[0] % tile == 0:
            return Trajectory(data, tile, size[0] // tile, kept)
    return None


def check(folder: Path, records: list[Stored]) -> Iterator[tuple[str, str]]:
    """What is wrong with the trajectories beside these records: each file that has none, or is no such picture."""
    known = {path_of(stored): stored for stored in records}
    for path in sorted((folder / FOLDER).glob("*")):
        if not _NAME.fullmatch(path.name) or path not in known:
            yield path.name, "no record has this trajectory"
        elif read(known[path]) is None:
            yield path.name, "it is not the picture that its record tells of"


def _name(record: RunRecord) -> str:
    images = replace(RunSpec.from_dict(record.spec), batch_size=1, samples=0, replicates=1).run_id
    return f"{images}-{record.environment.get('weights') or 'unnamed'}.webp"


def _size(data: bytes) -> tuple[int, int] | None:
    try:
        picture = Image.open(io.BytesIO(data))
        picture.load()
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError, ValueError):
        return None
    return picture.size
