"""Features of the training images that generated ones are compared with. `python -m dit_core.quality.references`.

Half-precision features of a class-balanced draw are kept rather than a covariance: they serve both distances and are
smaller. Generated classes take turns, so the reference gives each class the same weight too.
"""

import hashlib
import io
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dit_core.data import ImageSet, load_images
from dit_core.data.images import ASSETS, EMOJI_SHA256
from dit_core.errors import BadRequest
from dit_core.quality.features import DIMENSIONS, EXTRACTOR, SIDE, features
from dit_core.quality.frechet import Statistics, statistics

PER_CLASS = 120  # the smallest class has little more
FILE = ASSETS / f"emoji-{EXTRACTOR}-{SIDE}.npz"


def draw(images: ImageSet, per_class: int = PER_CLASS, seed: int = 0) -> np.ndarray:
    """Indices of `per_class` images of every class, without replacement where the class is large enough."""
    generator = np.random.default_rng(seed)
    members = [np.flatnonzero(images.labels == label) for label in range(len(images.classes))]
    chosen = [generator.choice(m, per_class, replace=len(m) < per_class) for m in members]
    return np.sort(np.concatenate(chosen))


def build(path: Path = FILE) -> None:
    """Compute the reference features of the training split and write them with the hash of the data."""
    images = load_images("train")
    pixels = torch.from_numpy(images.pixels[draw(images)]).permute(0, 3, 1, 2)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, features=features(pixels).half().numpy(), data_sha256=images.sha256)
    path.write_bytes(buffer.getvalue())


@cache
def reference(path: Path = FILE) -> tuple[Tensor, Statistics, str]:
    """Features (M, 1280), their statistics and a short hash; raises BadRequest where the file is missing or stale."""
    if not path.is_file():
        raise BadRequest(f"{path.name} is missing: run `python -m dit_core.quality.references`.")
    content = path.read_bytes()
    with np.load(io.BytesIO(content)) as file:
        if str(file["data_sha256"]) != EMOJI_SHA256:
            raise BadRequest(f"{path.name} belongs to other data: run `python -m dit_core.quality.references`.")
        values = torch.from_numpy(file["features"]).float()
    if values.shape[1] != DIMENSIONS:
        raise BadRequest(f"{path.name} has {values.shape[1]} dimensions, expected {DIMENSIONS}: build it again.")
    return values, statistics(values), hashlib.sha256(content).hexdigest()[:8]


if __name__ == "__main__":
    build()
    print(f"{FILE}: {FILE.stat().st_size / 1e6:.1f} MB")
