"""The denoising steps of a run's images: one picture of the predicted images after each step. Imports no torch.

    trajectories/<images>-<weights>.webp    lossless; a row for each image, a column for each step

Of a run with many steps at most MOST_STEPS are kept, and no more than fit into a WebP picture of 16,383 pixels, evenly
spaced from the first to the last; the description of the picture (EXIF) then lists their numbers. Spec and weights
determine the picture: they give its name, and it can be drawn again at any time. Runs that differ only in what is timed
or evaluated have the same images and share a picture.
"""

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image
from PIL.ExifTags import Base

from dit_core.models import sources
from dit_core.records.record import RunRecord
from dit_core.records.spec import RunSpec
from dit_core.records.store import Stored
from dit_core.system.files import write_bytes

FOLDER = "trajectories"
EVERY, MOST = 3, 4  # every third image of a sheet, four at most: this is the largest file of a run
MOST_STEPS = 25  # of 50 steps, neighbours look almost the same
MAX_WIDTH = 16383  # pixels
_NAME = re.compile(r"[0-9a-f]{12}-([0-9a-f]{12}|unnamed)\.webp")


@dataclass(frozen=True)
class Trajectory:
    """A picture `webp` with a row for each image and a column for each step, in tiles of `tile` pixels.

    `places` are the indices of the images in the run's sheet, `after` the numbers of the steps, counted from 1.
    """

    webp: bytes
    tile: int
    after: tuple[int, ...]
    places: tuple[int, ...]

    @property
    def steps(self) -> int:
        """Number of steps in the picture."""
        return len(self.after)


def places(images: int) -> tuple[int, ...]:
    """Return the indices of the images of a sheet whose steps are kept. All rows show different classes."""
    return tuple(range(0, images, EVERY))[:MOST]


def kept_steps(steps: int, tile: int) -> tuple[int, ...]:
    """Return the numbers of the steps with a column of `tile` pixels: all, or evenly spaced ones if there are many."""
    most = min(MOST_STEPS, MAX_WIDTH // tile)
    if steps <= most:
        return tuple(range(1, steps + 1))
    return tuple(1 + round(i * (steps - 1) / (most - 1)) for i in range(most)) if most > 1 else (steps,)


def description(after: Sequence[int]) -> str:
    """Return the description of a picture with these steps; empty if no step is missing."""
    return "" if list(after) == list(range(1, len(after) + 1)) else " ".join(map(str, after))


def path_of(stored: Stored) -> Path:
    """Return the file of a stored run's trajectory, whether it exists or not."""
    return stored.path.parent / FOLDER / _name(stored.record)


def is_drawable(record: RunRecord) -> bool:
    """Return whether a run has images that mean anything; those of random weights do not."""
    return record.status == "done" and not sources.is_cost_only(record.spec["model"])


def write(stored: Stored, webp: bytes) -> None:
    """Write the trajectory of a stored run."""
    path = path_of(stored)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(webp, path)


def read(stored: Stored) -> Trajectory | None:
    """Return the trajectory of a stored run; None if there is no file or it is not such a picture."""
    tile, kept = stored.record.samples.get("tile"), places(len(stored.record.samples.get("labels") or ()))
    with suppress(OSError):
        data = path_of(stored).read_bytes()
        size, text = _size(data)
        if tile and kept and size[1] == len(kept) * tile and size[0] and size[0] % tile == 0:
            columns = size[0] // tile
            after = tuple(int(step) for step in text.split() if step.isdecimal()) or tuple(range(1, columns + 1))
            return Trajectory(data, tile, after, kept) if len(after) == columns else None
    return None


def check(folder: Path, records: list[Stored]) -> Iterator[tuple[str, str]]:
    """Yield the name and problem of each file that belongs to no record or is not a valid trajectory."""
    known = {path_of(stored): stored for stored in records}
    for path in sorted((folder / FOLDER).glob("*")):
        if not _NAME.fullmatch(path.name) or path not in known:
            yield path.name, "no record has this trajectory"
        elif read(known[path]) is None:
            yield path.name, "the picture does not match its record"


def _name(record: RunRecord) -> str:
    images = replace(RunSpec.from_dict(record.spec), batch_size=1, samples=0, replicates=1).run_id
    return f"{images}-{record.environment.get('weights') or 'unnamed'}.webp"


def _size(data: bytes) -> tuple[tuple[int, int], str]:
    """Return width, height and description of a picture; zeros if the data are not a picture."""
    try:
        picture = Image.open(io.BytesIO(data))
        picture.load()
        return picture.size, str(picture.getexif().get(Base.ImageDescription, ""))
    except Exception:  # a damaged file can make a parser raise any
        return (0, 0), ""
