"""Read the bundled image set, after checking that it is the one the figures were made with."""

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ASSETS = Path(__file__).parent / "assets"
EMOJI_SHA256 = "0d95a9420818cf226324b45f591436f9f56b63afe820b30e9cbeba46ea72ed71"


class DataError(RuntimeError):
    """A data file is missing or is not the one expected; the message says what to do."""


@dataclass(frozen=True)
class ImageSet:
    """`pixels` (N, 32, 32, 3) uint8 RGB, `labels` (N,) int64 into `classes`; `sources` and `names` tell the artwork."""

    pixels: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    sources: tuple[str, ...]
    names: tuple[str, ...]
    sha256: str

    def __len__(self) -> int:
        return len(self.pixels)


def load_images(split: str = "train", path: Path | None = None, sha256: str | None = EMOJI_SHA256) -> ImageSet:
    """The `train` or `held_out` split of the emoji set.

    Raises DataError where the file is missing or its content hash differs. Classes are in alphabetical order and the
    same for both splits.
    """
    import pyarrow.parquet as pq
    from PIL import Image

    path = path or ASSETS / "emoji.parquet"
    if not path.is_file():
        raise DataError(f"{path.name} is missing from {path.parent}: check out the repository again.")
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if sha256 is not None and found != sha256:
        raise DataError(
            f"{path.name} has changed (sha256 {found[:12]}..., expected {sha256[:12]}...): restore it from git."
        )
    table = pq.read_table(io.BytesIO(content))
    classes = tuple(sorted(set(table["label"].to_pylist())))
    rows = [row for row in table.to_pylist() if row["split"] == split]
    if not rows:
        raise DataError(f"There is no split {split!r} in {path.name}: use 'train' or 'held_out'.")
    pixels = np.stack([np.asarray(Image.open(io.BytesIO(row["image"])).convert("RGB")) for row in rows])
    labels = np.array([classes.index(row["label"]) for row in rows])
    sources = tuple(row["source"] for row in rows)
    return ImageSet(pixels, labels, classes, sources, tuple(row["name"] for row in rows), found)
