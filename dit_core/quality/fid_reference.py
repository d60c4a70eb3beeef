"""The reference that FID compares a model's images with."""

import os
from dataclasses import replace
from functools import cache
from pathlib import Path

import torch

from dit_core.data.images import SETS
from dit_core.models import sources
from dit_core.quality import references
from dit_core.quality.adm import read_reference, reference_bytes
from dit_core.quality.frechet import Reference, RunningStatistics, statistics
from dit_core.quality.inception import Inception
from dit_core.quality.judgement import FID_REFERENCE, OwnReference, Unavailable, own_reference
from dit_core.quality.references import Progress
from dit_core.system.cache import cache_folder, keep
from dit_core.system.files import user_path


def fid_reference_of(
    model: str, inception: Inception, reference: str = "", progress: Progress = lambda done, of: None
) -> Reference:
    """Return the statistics of a named reference, of a model's reference images, or of the file in DIT_FID_REFERENCE.

    Raises Unavailable if there is no reference, BadRequest if the file is not a reference file.
    """
    if reference and reference not in SETS:
        return _own(own_reference(reference), inception, progress)
    if isinstance(name := reference or sources.find(model).reference_images, str):
        return _bundled(name, inception)
    if path := os.environ.get(FID_REFERENCE):
        return read_reference(user_path(path))
    raise Unavailable(f"no FID reference for {model}: set {FID_REFERENCE} to a reference file of guided-diffusion")


@cache
def _bundled(name: str, inception: Inception) -> Reference:
    """Statistics of the same real images as the offline reference, computed once per machine."""
    path = cache_folder() / f"fid-{SETS[name].sha256[:8]}-{inception.digest}.npz"
    if not path.is_file():
        features = inception.extract(references.drawn_pixels(name))
        _write(path, reference_bytes(statistics(features.pooled), statistics(features.spatial)))
    return read_reference(path)


def _own(reference: OwnReference, inception: Inception, progress: Progress) -> Reference:
    """Statistics that a file holds, or those of a person's images, computed once per machine."""
    digest = reference.digest
    if reference.has_statistics or reference.images is None:
        return replace(read_reference(reference.path), digest=digest)
    path = cache_folder() / f"fid-{digest}-{inception.digest}.npz"
    if not path.is_file():
        pooled, spatial = RunningStatistics(), RunningStatistics()
        for part in reference.images.batches():
            features = inception.extract(torch.from_numpy(part.copy()).permute(0, 3, 1, 2))
            pooled.add(features.pooled)
            spatial.add(features.spatial)
            progress(pooled.count, len(reference.images))
        _write(path, reference_bytes(pooled.result(), spatial.result()))
    return replace(read_reference(path), digest=digest)


def _write(path: Path, content: bytes) -> None:
    keep(path, content)
    if not path.is_file():
        raise Unavailable(f"the FID reference cannot be written to {path.parent}: set DIT_CACHE to another folder")
