"""What generated images are compared with, made from the training images. `python -m dit_core.quality.references`.

Half-precision features of a class-balanced draw are kept rather than a covariance: they serve several metrics and are
smaller. Generated classes take turns, so the reference gives each class the same weight too.
"""

import hashlib
import io
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from dit_core.data import ImageSet, load_images
from dit_core.data.images import ASSETS, EMOJI_SHA256
from dit_core.errors import BadRequest
from dit_core.quality.classifiers import LinearClassifier, balanced_accuracy, fit_linear
from dit_core.quality.features import DIMENSIONS, EXTRACTOR, MAP_DIMENSIONS, SIDE, extract, features
from dit_core.quality.frechet import Statistics, statistics
from dit_core.quality.manifold import radii

PER_CLASS = 120  # the smallest class has little more
FILE = ASSETS / f"emoji-{EXTRACTOR}-{SIDE}.npz"
MAP_FILE = ASSETS / f"emoji-{EXTRACTOR}-{SIDE}-map.npz"
CLASSES_FILE = ASSETS / f"emoji-{EXTRACTOR}-{SIDE}-classes.npz"


class Reference(NamedTuple):
    """Features (M, 1280) of real images, their statistics and a short hash of the file they came from."""

    features: Tensor
    statistics: Statistics
    digest: str


class MapReference(NamedTuple):
    """Statistics of the spatial features of real images, and a short hash of the file they came from."""

    statistics: Statistics
    digest: str


def draw(images: ImageSet, per_class: int = PER_CLASS, seed: int = 0) -> np.ndarray:
    """Indices of `per_class` images of every class, without replacement where the class is large enough."""
    generator = np.random.default_rng(seed)
    members = [np.flatnonzero(images.labels == label) for label in range(len(images.classes))]
    chosen = [generator.choice(m, per_class, replace=len(m) < per_class) for m in members]
    return np.sort(np.concatenate(chosen))


def drawn_pixels() -> Tensor:
    """The real images of the reference: (M, 3, 32, 32) uint8."""
    images = load_images("train")
    return torch.from_numpy(images.pixels[draw(images)]).permute(0, 3, 1, 2)


def build(path: Path = FILE) -> None:
    """Write the pooled features of the draw."""
    _save(path, features=features(drawn_pixels()).half().numpy())


def build_map(path: Path = MAP_FILE) -> None:
    """Write mean and covariance of the spatial features of the draw; of the covariance, one triangle."""
    fitted = statistics(extract(drawn_pixels()).spatial)
    rows, columns = np.triu_indices(MAP_DIMENSIONS)
    triangle = fitted.covariance.numpy()[rows, columns]
    _save(path, mean=fitted.mean.float().numpy(), triangle=triangle.astype(np.float32), count=fitted.count)


def build_classes(path: Path = CLASSES_FILE) -> None:
    """Fit a linear classifier on all training images and write it with its accuracy on the held-out ones."""
    train, held_out = load_images("train"), load_images("held_out")
    known = features(torch.from_numpy(train.pixels).permute(0, 3, 1, 2))
    weight, bias = fit_linear(known, torch.from_numpy(train.labels), len(train.classes))
    weight, bias = weight.half(), bias.half()
    unseen = features(torch.from_numpy(held_out.pixels).permute(0, 3, 1, 2))
    scores = unseen @ weight.float().T + bias.float()
    accuracy = balanced_accuracy(scores, torch.from_numpy(held_out.labels))
    _save(path, weight=weight.numpy(), bias=bias.numpy(), held_out_accuracy=accuracy, held_out_count=len(held_out))


BUILDERS: dict[Path, Callable[[], None]] = {FILE: build, MAP_FILE: build_map, CLASSES_FILE: build_classes}


@cache
def reference(path: Path = FILE) -> Reference:
    """Real features to compare with; raises BadRequest where the file is missing or stale."""
    content, digest = _load(path)
    values = torch.from_numpy(content["features"]).float()
    if values.shape[1] != DIMENSIONS:
        raise BadRequest(f"{path.name} has {values.shape[1]} dimensions, expected {DIMENSIONS}: build it again.")
    return Reference(values, statistics(values), digest)


@cache
def reference_radii(path: Path = FILE) -> Tensor:
    """(M,) squared radii of the real images' manifold."""
    return radii(reference(path).features)


@cache
def map_reference(path: Path = MAP_FILE) -> MapReference:
    """Real spatial features to compare with; raises BadRequest where the file is missing or stale."""
    content, digest = _load(path)
    mean = torch.from_numpy(content["mean"]).double()
    if len(mean) != MAP_DIMENSIONS:
        raise BadRequest(f"{path.name} has {len(mean)} dimensions, expected {MAP_DIMENSIONS}: build it again.")
    covariance = torch.zeros(len(mean), len(mean), dtype=torch.float64)
    rows, columns = torch.triu_indices(len(mean), len(mean))
    covariance[rows, columns] = covariance[columns, rows] = torch.from_numpy(content["triangle"]).double()
    return MapReference(Statistics(mean, covariance, int(content["count"])), digest)


@cache
def classifier(path: Path = CLASSES_FILE) -> LinearClassifier:
    """The classifier of the bundled classes; raises BadRequest where the file is missing or stale."""
    content, _ = _load(path)
    weight, bias = (torch.from_numpy(content[key]).float() for key in ("weight", "bias"))
    return LinearClassifier(weight, bias, float(content["held_out_accuracy"]), int(content["held_out_count"]))


def _save(path: Path, **arrays: Any) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays, data_sha256=EMOJI_SHA256)
    path.write_bytes(buffer.getvalue())


def _load(path: Path) -> tuple[dict[str, np.ndarray], str]:
    """The arrays of a file, after checking that it was made from the bundled images, and its short hash."""
    if not path.is_file():
        raise BadRequest(f"{path.name} is missing: run `python -m dit_core.quality.references`.")
    content = path.read_bytes()
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        arrays = {key: file[key] for key in file.files}
    if str(arrays["data_sha256"]) != EMOJI_SHA256:
        raise BadRequest(
            f"{path.name} belongs to other data: delete it and run `python -m dit_core.quality.references`."
        )
    return arrays, hashlib.sha256(content).hexdigest()[:8]


if __name__ == "__main__":
    for file, builder in BUILDERS.items():
        if not file.exists():
            builder()
            print(f"{file}: {file.stat().st_size / 1e6:.2f} MB")
