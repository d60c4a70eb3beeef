"""FID, sFID and inception score, where Inception's weights can be had. Never mixed with the offline extractor."""

import os
import statistics as stats
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dit_core.cache import cache_folder, keep
from dit_core.data.images import EMOJI_SHA256
from dit_core.errors import BadRequest
from dit_core.models import catalog
from dit_core.quality import intervals, references
from dit_core.quality.adm import AdmReference, read_reference, reference_bytes
from dit_core.quality.classifiers import classifier_score
from dit_core.quality.frechet import FrechetDistance, Statistics, statistics
from dit_core.quality.inception import SIDE, Inception, NoInception, load
from dit_core.quality.intervals import Interval, by_halves, of_mean, random_halves

FIGURES = ("fid", "sfid", "inception_score", "inception_score_spread")
VARIABLE = "DIT_FID_REFERENCE"


def fid(images: Tensor, model: str, replicates: int = 1) -> dict[str, Any]:
    """Figures of (N, 3, H, W) uint8 images in `replicates` equal sets, means over them; or null with `reasons`.

    A file that is not what it should be costs these figures, and not the run that was measured before them.
    """
    try:
        inception = load()
        return against(images, inception, reference_of(model, inception), replicates)
    except (NoInception, ValueError) as error:
        unknown = ("fid_metric", *FIGURES)
        return {**dict.fromkeys(unknown), "reasons": dict.fromkeys(unknown, str(error))}


def against(images: Tensor, inception: Inception, known: AdmReference, replicates: int = 1) -> dict[str, Any]:
    """The same against a reference at hand; sFID is null with a reason where that has no spatial statistics."""
    size = len(images) // replicates
    if size < 2:
        raise BadRequest("FID and inception score need two images or more.")
    pooled, spatial, logits = inception.extract(images)
    for features, reference in ((pooled, known.pooled), (spatial, known.spatial)):
        if reference is not None and len(reference.mean) != features.shape[1]:
            widths = f"{len(reference.mean)} features, and Inception gives {features.shape[1]}"
            raise BadRequest(f"The reference has statistics of {widths}: name a reference file of guided-diffusion.")
    sets = [slice(start, start + size) for start in range(0, size * replicates, size)]
    scores = [classifier_score(logits[rows]) for rows in sets]
    found: dict[str, Any] = {
        "fid_metric": (
            f"FID inception-2015-12-05 {inception.digest} {SIDE}px TF1 bilinear, {size} images, "
            f"reference {known.digest}"
        ),
        "fid": None,
        "sfid": None,
        "inception_score": stats.fmean(score.mean for score in scores),
        "inception_score_spread": stats.fmean(score.spread for score in scores),
    }
    told = {"inception_score": of_mean([s.mean for s in scores], "replicates") or scores[0].interval}
    reasons = {}
    for name, features, reference in (("fid", pooled, known.pooled), ("sfid", spatial, known.spatial)):
        if reference is None:
            reasons[name] = "the reference has no spatial statistics"
        elif size < intervals.ENOUGH:
            reasons[name] = f"{size} images are too few for a Frechet distance: judge {intervals.ENOUGH} or more"
        else:
            found[name], told[name] = _distance([features[rows] for rows in sets], reference)
    if size < 10 * pooled.shape[1]:
        found["fid_flag"] = f"small sample: {size} images for {pooled.shape[1]} features bias FID upward"
    found["intervals"] = {name: [one.low, one.high] for name, one in told.items() if one}
    found["interval_method"] = {name: one.method for name, one in told.items() if one}
    return {**found, **({"reasons": reasons} if reasons else {})}


def _distance(sets: list[Tensor], known: Statistics) -> tuple[float, Interval]:
    """Mean over the sets of features (N, D), with its interval."""
    distances = [FrechetDistance(features, known) for features in sets]
    values = [one.of(torch.arange(len(one.values))) for one in distances]
    several = of_mean(values, "replicates")
    if several:
        return stats.fmean(values), several
    rows = random_halves(len(sets[0]))
    return values[0], by_halves(values[0], [distances[0].of(half) for half in rows])


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
