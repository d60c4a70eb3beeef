"""Reference statistics of real images for the offline metrics. `python -m dit_core.quality.references` builds those of
the bundled image sets that have none.

The reference is a class-balanced draw of the training images, because generated images have as many of each class. Its
pooled features are stored in half precision rather than as a covariance: they serve several metrics and are smaller.
Features of a person's own images are in the cache, under the hash of the images.
"""

import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dit_core.data import ImageSet, load_images
from dit_core.data.images import ASSETS, EMOJI, SETS
from dit_core.data.own_images import OwnImages
from dit_core.errors import BadRequest
from dit_core.models import sources
from dit_core.quality.classifiers import LinearClassifier, balanced_accuracy, fit_linear
from dit_core.quality.efficientnet import DIMENSIONS, EXTRACTOR, MAP_DIMENSIONS, SIDE, extract
from dit_core.quality.frechet import Reference, RunningStatistics, Statistics, statistics
from dit_core.quality.judgement import OwnReference, Unavailable, own_reference
from dit_core.quality.precision_recall import radii
from dit_core.system.cache import cache_folder, keep
from dit_core.system.files import write_bytes

Progress = Callable[[int, int], None]

KEPT = 5_000  # images of an own reference whose features are kept: KID and recall compare every pair of images
PER_CLASS = 120  # the smallest class has few images more
POOLED, SPATIAL, CLASSES = "", "-map", "-classes"  # ends of the names of a set's files


@dataclass(frozen=True)
class ImageReference(Reference):
    """EfficientNet features of M real images, their statistics, and a classifier of their classes.

    `features` is (M, 1280), of a large reference those of a random draw. `digest` is a hash of the file of pooled
    features, `spatial_digest` of the spatial ones; of a person's own images both are the hash of the images. Without a
    `classifier` the classes of the images are not those of the model.
    """

    title: str
    features: Tensor
    spatial: Statistics
    spatial_digest: str
    classifier: LinearClassifier | None

    @cached_property
    def radii(self) -> Tensor:
        """(M,) squared radii of the real images' manifold."""
        return radii(self.features)


def reference_of(model: str, reference: str = "", progress: Progress = lambda done, of: None) -> ImageReference:
    """Return a named reference, or else that of a model's images.

    Raises Unavailable if there is none, BadRequest if its images cannot be read.
    """
    source = sources.find(model)
    if reference and reference not in SETS:
        return _own(own_reference(reference), progress)
    name = reference or source.reference_images
    if isinstance(name, sources.Missing):
        raise Unavailable(name.reason)
    same_classes = source.class_names in (None, sources.find(EMOJI).class_names)
    return bundled(name) if same_classes else replace(bundled(name), classifier=None)


@cache
def bundled(name: str = EMOJI) -> ImageReference:
    """Return the reference of a bundled image set. Raises BadRequest if a file is missing or stale."""
    features, digest = _features(name)
    spatial, spatial_digest = _spatial_statistics(name)
    return ImageReference(
        pooled=statistics(features),
        spatial=spatial,
        digest=digest,
        title=f"{name} train",
        features=features,
        spatial_digest=spatial_digest,
        classifier=_classifier(name),
    )


def _own(reference: OwnReference, progress: Progress) -> ImageReference:
    if reference.images is None:
        raise Unavailable(f"{reference.path.name} has only statistics of Inception's features")
    digest = reference.digest
    path = cache_folder() / f"reference-{EXTRACTOR}-{SIDE}-{digest}.npz"
    if path.is_file():
        content = path.read_bytes()
    else:
        content = _own_features(reference.images, progress)
        keep(path, content)
    return _read_own(content, reference.path.name, digest)


def _own_features(images: OwnImages, progress: Progress) -> bytes:
    """Extract the features of all images: statistics of all, and the pooled features of at most KEPT."""
    pooled, spatial, kept = RunningStatistics(), RunningStatistics(), []
    chosen = np.zeros(len(images), bool)
    chosen[np.random.default_rng(0).permutation(len(images))[:KEPT]] = True
    for part in images.batches():
        features = extract(torch.from_numpy(part.copy()).permute(0, 3, 1, 2))
        kept.append(features.pooled[chosen[pooled.count : pooled.count + len(part)]].half())
        pooled.add(features.pooled)
        spatial.add(features.spatial)
        progress(pooled.count, len(images))
    buffer = io.BytesIO()
    np.savez(
        buffer,
        features=torch.cat(kept).numpy(),
        **{f"pooled_{name}": value for name, value in _packed(pooled.result()).items()},
        **{f"spatial_{name}": value for name, value in _packed(spatial.result()).items()},
    )
    return buffer.getvalue()


@lru_cache(maxsize=2)
def _read_own(content: bytes, title: str, digest: str) -> ImageReference:
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        features = torch.from_numpy(file["features"]).float()
        pooled, spatial = (
            _unpacked({name: file[f"{part}_{name}"] for name in ("mean", "triangle", "count")})
            for part in ("pooled", "spatial")
        )
    return ImageReference(pooled, spatial, digest, title, features, digest, None)


def _packed(fitted: Statistics) -> dict[str, Any]:
    """Return statistics as arrays, of the covariance only the upper triangle."""
    rows, columns = np.triu_indices(len(fitted.mean))
    triangle = fitted.covariance.numpy()[rows, columns].astype(np.float32)
    return {"mean": fitted.mean.float().numpy(), "triangle": triangle, "count": fitted.count}


def _unpacked(content: dict[str, Any]) -> Statistics:
    mean = torch.from_numpy(content["mean"]).double()
    covariance = torch.zeros(len(mean), len(mean), dtype=torch.float64)
    rows, columns = torch.triu_indices(len(mean), len(mean))
    covariance[rows, columns] = covariance[columns, rows] = torch.from_numpy(content["triangle"]).double()
    return Statistics(mean, covariance, int(content["count"]))


def draw(images: ImageSet, per_class: int = PER_CLASS, seed: int = 0) -> np.ndarray:
    """Draw the indices of `per_class` images of every class, without replacement if the class is large enough."""
    generator = np.random.default_rng(seed)
    members = [np.flatnonzero(images.labels == label) for label in range(len(images.classes))]
    chosen = [generator.choice(m, per_class, replace=len(m) < per_class) for m in members]
    return np.sort(np.concatenate(chosen))


def file_of(name: str, part: str) -> Path:
    """Return the file with a part of the reference of a bundled image set."""
    return ASSETS / f"{name}-{EXTRACTOR}-{SIDE}{part}.npz"


def drawn_pixels(name: str = EMOJI) -> Tensor:
    """Return the real images of the reference of a bundled image set: (M, 3, side, side) uint8."""
    images = load_images("train", name)
    return torch.from_numpy(images.pixels[draw(images)]).permute(0, 3, 1, 2)


def build_features(name: str, path: Path) -> None:
    """Write the pooled features of the draw."""
    _save(name, path, features=extract(drawn_pixels(name)).pooled.half().numpy())


def build_spatial_statistics(name: str, path: Path) -> None:
    """Write the mean of the draw's spatial features, and the upper triangle of their covariance."""
    _save(name, path, **_packed(statistics(extract(drawn_pixels(name)).spatial)))


def build_classifier(name: str, path: Path) -> None:
    """Fit a linear classifier on all training images and write it with its accuracy on the held-out ones."""
    train, held_out = load_images("train", name), load_images("held_out", name)
    train_features = extract(torch.from_numpy(train.pixels).permute(0, 3, 1, 2)).pooled
    weight, bias = fit_linear(train_features, torch.from_numpy(train.labels), len(train.classes))
    weight, bias = weight.half(), bias.half()
    held_out_features = extract(torch.from_numpy(held_out.pixels).permute(0, 3, 1, 2)).pooled
    scores = held_out_features @ weight.float().T + bias.float()
    accuracy = balanced_accuracy(scores, torch.from_numpy(held_out.labels))
    found = {"held_out_accuracy": accuracy, "held_out_count": len(held_out)}
    _save(name, path, weight=weight.numpy(), bias=bias.numpy(), **found)


BUILDERS: dict[str, Callable[[str, Path], None]] = {
    POOLED: build_features,
    SPATIAL: build_spatial_statistics,
    CLASSES: build_classifier,
}


def _features(name: str) -> tuple[Tensor, str]:
    """Read the pooled features (M, 1280) and the digest of their file."""
    path = file_of(name, POOLED)
    content, digest = _load(name, path)
    values = torch.from_numpy(content["features"]).float()
    if values.shape[1] != DIMENSIONS:
        raise BadRequest(f"{path.name} has {values.shape[1]} dimensions, expected {DIMENSIONS}: build it again.")
    return values, digest


def _spatial_statistics(name: str) -> tuple[Statistics, str]:
    """Read the statistics of the spatial features and the digest of their file."""
    path = file_of(name, SPATIAL)
    content, digest = _load(name, path)
    fitted = _unpacked(content)
    if len(fitted.mean) != MAP_DIMENSIONS:
        raise BadRequest(f"{path.name} has {len(fitted.mean)} dimensions, expected {MAP_DIMENSIONS}: build it again.")
    return fitted, digest


def _classifier(name: str) -> LinearClassifier:
    """Read the classifier of the bundled classes."""
    content, _ = _load(name, file_of(name, CLASSES))
    weight, bias = (torch.from_numpy(content[key]).float() for key in ("weight", "bias"))
    return LinearClassifier(weight, bias, float(content["held_out_accuracy"]), int(content["held_out_count"]))


def _save(name: str, path: Path, **arrays: Any) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays, data_sha256=SETS[name].sha256)
    write_bytes(buffer.getvalue(), path)


def _load(name: str, path: Path) -> tuple[dict[str, np.ndarray], str]:
    """Read the arrays of a file and its digest. Raises BadRequest if it is missing or of other images."""
    if not path.is_file():
        raise BadRequest(f"{path.name} is missing: run `python -m dit_core.quality.references`.")
    content = path.read_bytes()
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        arrays = {key: file[key] for key in file.files}
    if str(arrays["data_sha256"]) != SETS[name].sha256:
        raise BadRequest(
            f"{path.name} belongs to other data: delete it and run `python -m dit_core.quality.references`."
        )
    return arrays, hashlib.sha256(content).hexdigest()[:8]


if __name__ == "__main__":
    for image_set in SETS:
        for part, build in BUILDERS.items():
            if not (file := file_of(image_set, part)).exists():
                build(image_set, file)
                print(f"{file}: {file.stat().st_size / 1e6:.2f} MB")
