"""How images form: what a run took each of them to be after every step, kept beside its record. Imports no torch.

    trajectories/<images>-<weights>.webp    lossless; a row for each image, a column for each step

WebP is at most 16,383 pixels wide. Of a run of more steps than fit, as many are kept, evenly spread from the first to
the last, and the picture's description (EXIF) numbers them. A picture follows from the spec and the weights alone, so
it is named by both and can be drawn again at any time. Runs that differ only in what is timed or judged make the same
images and share one.
"""

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image, UnidentifiedImageError
from PIL.ExifTags import Base

from dit_core.files import write_bytes
from dit_core.models import catalog
from dit_core.spec import RunRecord, RunSpec
from dit_core.store import Stored

FOLDER = "trajectories"
EVERY, MOST = 3, 4  # of a sheet, every third image, four at most: their steps outweigh all else that a run keeps
WIDEST = 16383  # pixels
_NAME = re.compile(r"[0-9a-f]{12}-([0-9a-f]{12}|unnamed)\.webp")


@dataclass(frozen=True)
class Trajectory:
    """`webp` has a row for each of `places`, the images' numbers in the run's sheet, and a column for each of `after`,
    the steps that were kept, counted from 1."""

    webp: bytes
    tile: int
    after: tuple[int, ...]
    places: tuple[int, ...]

    @property
    def steps(self) -> int:
        """How many steps were kept."""
        return len(self.after)


def places(images: int) -> tuple[int, ...]:
    """Which images of a sheet are kept, so that as many classes as rows are among them."""
    return tuple(range(0, images, EVERY))[:MOST]


def kept_steps(steps: int, tile: int) -> tuple[int, ...]:
    """Which of so many steps have a column of `tile` pixels: all that fit, else evenly spread, first and last among
    them."""
    most = WIDEST // tile
    if steps <= most:
        return tuple(range(1, steps + 1))
    return tuple(1 + round(i * (steps - 1) / (most - 1)) for i in range(most)) if most > 1 else (steps,)


def description(after: Sequence[int]) -> str:
    """What a picture with columns after these steps tells of itself; nothing where no step is missing."""
    return "" if list(after) == list(range(1, len(after) + 1)) else " ".join(map(str, after))


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
        size, told = _size(data)
        if tile and kept and size[1] == len(kept) * tile and size[0] and size[0] % tile == 0:
            columns = size[0] // tile
            after = tuple(int(step) for step in told.split() if step.isdecimal()) or tuple(range(1, columns + 1))
            return Trajectory(data, tile, after, kept) if len(after) == columns else None
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


def _size(data: bytes) -> tuple[tuple[int, int], str]:
    """Width and height of a picture, and its description; nothing where it is none."""
    try:
        picture = Image.open(io.BytesIO(data))
        picture.load()
        return picture.size, str(picture.getexif().get(Base.ImageDescription, ""))
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError, ValueError):
        return (0, 0), ""
