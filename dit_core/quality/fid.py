"""FID, sFID and inception score, where Inception's weights can be had. Never mixed with the offline extractor."""

import os
import statistics as stats
from functools import cache
from pathlib import Path
from typing import Any

from torch import Tensor

from dit_core.cache import cache_folder, keep
from dit_core.data.images import EMOJI_SHA256
from dit_core.errors import BadRequest
from dit_core.models import catalog
from dit_core.quality import references
from dit_core.quality.adm import AdmReference, read_reference, reference_bytes
from dit_core.quality.classifiers import classifier_score
from dit_core.quality.frechet import frechet_distance, statistics
from dit_core.quality.inception import Inception, NoInception, load

FIGURES = ("fid", "sfid", "inception_score")
VARIABLE = "DIT_FID_REFERENCE"


def fid(images: Tensor, model: str, replicates: int = 1) -> dict[str, Any]:
    """Figures of (N, 3, H, W) uint8 images in `replicates` equal sets, means over them; or null with `reasons`."""
    try:
        inception = load()
        return against(images, inception, reference_of(model, inception), replicates)
    except (NoInception, ValueError) as error:
        if isinstance(error, BadRequest):
            raise
        unknown = ("fid_metric", *FIGURES)
        return {**dict.fromkeys(unknown), "reasons": dict.fromkeys(unknown, str(error))}


def against(images: Tensor, inception: Inception, known: AdmReference, replicates: int = 1) -> dict[str, Any]:
    """The same against a reference at hand; sFID is null with a reason where that has no spatial statistics."""
    pooled, spatial, logits = inception.extract(images)
    size = len(images) // replicates
    if size < 2:
        raise ValueError("fewer than two images")
    sets = [slice(start, start + size) for start in range(0, size * replicates, size)]
    found: dict[str, Any] = {
        "fid_metric": f"FID inception-2015-12-05 {inception.digest}, {size} images, reference {known.digest}",
        "fid": stats.fmean(frechet_distance(pooled[rows], known.pooled) for rows in sets),
        "sfid": None,
        "inception_score": stats.fmean(classifier_score(logits[rows])[0] for rows in sets),
    }
    if known.spatial is None:
        return {**found, "reasons": {"sfid": "the reference has no spatial statistics"}}
    return {**found, "sfid": stats.fmean(frechet_distance(spatial[rows], known.spatial) for rows in sets)}


def reference_of(model: str, inception: Inception) -> AdmReference:
    """What a model's images are compared with: the bundled data, or the file named by DIT_FID_REFERENCE."""
    if model in catalog.bundled():
        return _bundled(inception)
    if path := os.environ.get(VARIABLE):
        return read_reference(Path(path))
    raise NoInception(f"no FID reference for {model}: set {VARIABLE} to a reference file of guided-diffusion")


@cache
def _bundled(inception: Inception) -> AdmReference:
    """Statistics of the same draw of real images as the offline reference, computed once per machine."""
    path = cache_folder() / f"fid-{EMOJI_SHA256[:8]}-{inception.digest}.npz"
    if not path.is_file():
        pooled, spatial, _ = inception.extract(references.drawn_pixels())
        keep(path, reference_bytes(statistics(pooled), statistics(spatial)))
        if not path.is_file():
            raise NoInception(f"the FID reference cannot be kept in {path.parent}: set DIT_CACHE to another folder")
    return read_reference(path)
