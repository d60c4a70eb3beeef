"""Read the bundled image sets and check their hashes, because all bundled records depend on them."""

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dit_core.errors import BadRequest

ASSETS = Path(__file__).parent / "assets"
EMOJI = "emoji"  # name of the image set of a bundled model that names no other


@dataclass(frozen=True)
class BundledSet:
    """Side of the images in pixels, and hash of the file. All sets have the same icons, classes and split."""

    side: int
    sha256: str


SETS = {
    EMOJI: BundledSet(32, "0d95a9420818cf226324b45f591436f9f56b63afe820b30e9cbeba46ea72ed71"),
    "emoji64": BundledSet(64, "e82e10df39ad2235df8bcbba13c1d5eb9b429bd30588f9905c048305a9bbab39"),
}


class DataError(RuntimeError):
    """A data file is missing or has other content than expected. The message says what to do."""


@dataclass(frozen=True)
class ImageSet:
    """Images with class labels.

    `pixels` is (N, H, W, 3) uint8 RGB, `labels` (N,) int64 are indices into `classes`. `sources` and `names` hold the
    icon set and the icon of each image.
    """

    pixels: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    sources: tuple[str, ...]
    names: tuple[str, ...]
    sha256: str

    def __len__(self) -> int:
        return len(self.pixels)


def load_images(split: str = "train", name: str = EMOJI, folder: Path = ASSETS) -> ImageSet:
    """Return the `train` or `held_out` split of a bundled image set.

    Both splits have the same classes, in alphabetical order. Raises BadRequest if there is no such set, and DataError
    if its file is missing or has another hash, or there is no such split.
    """
    import pyarrow.parquet as pq
    from PIL import Image

    if name not in SETS:
        raise BadRequest(f"There is no bundled image set {name!r}: use {' or '.join(SETS)}.")
    path = folder / f"{name}.parquet"
    if not path.is_file():
        raise DataError(f"{path.name} is missing from {path.parent}: check out the repository again.")
    content = path.read_bytes()
    digest, expected = hashlib.sha256(content).hexdigest(), SETS[name].sha256
    if digest != expected:
        raise DataError(
            f"{path.name} has changed (sha256 {digest[:12]}..., expected {expected[:12]}...): restore it from git."
        )
    table = pq.read_table(io.BytesIO(content))
    classes = tuple(sorted(set(table["label"].to_pylist())))
    rows = [row for row in table.to_pylist() if row["split"] == split]
    if not rows:
        raise DataError(f"There is no split {split!r} in {path.name}: use 'train' or 'held_out'.")
    pixels = np.stack([np.asarray(Image.open(io.BytesIO(row["image"])).convert("RGB")) for row in rows])
    labels = np.array([classes.index(row["label"]) for row in rows])
    sources = tuple(row["source"] for row in rows)
    return ImageSet(pixels, labels, classes, sources, tuple(row["name"] for row in rows), digest)
