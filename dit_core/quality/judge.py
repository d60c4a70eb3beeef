"""The quality section of a record."""

from typing import Any

import torch
from torch import Tensor

from dit_core.models import catalog
from dit_core.quality.features import DIMENSIONS, EXTRACTOR, SIDE, features
from dit_core.quality.frechet import frechet_distance
from dit_core.quality.kid import kernel_distance_by_subsets
from dit_core.quality.references import reference

HALVES = 8


def judge(images: Tensor, model: str) -> dict[str, Any]:
    """Frechet distance and KID of (N, 3, H, W) uint8 images to the bundled data; null with a reason where impossible.

    `low` and `high` are the distance plus and minus 1.96 standard errors, estimated from random halves: a half's
    distance spreads like that of a sample of half the size, without the shift that resampling with repeats would add.
    """
    if model not in catalog.bundled():
        return not_judged(f"there are no reference statistics for {model}")
    if len(images) < 2:
        return not_judged("fewer than two images", len(images))
    if (images.flatten(1).float().std(1) == 0).all():
        return not_judged("every image is a single colour", len(images))
    try:
        values = features(images)
    except ValueError as error:
        return not_judged(str(error), len(images))
    known, statistics, digest = reference()
    distance = frechet_distance(values, statistics)
    kid, kid_error = kernel_distance_by_subsets(values, known)
    error = _half_sample_error(values, statistics)
    section = {
        "metric": f"FD {EXTRACTOR} {SIDE}px, {len(images)} images, reference {digest}",
        "distance": distance,
        "low": None if error is None else distance - 1.96 * error,
        "high": None if error is None else distance + 1.96 * error,
        "kid": kid,
        "kid_standard_error": kid_error,
        "count": len(images),
        "reference": f"emoji train, {len(known)} images, {digest}",
        "extractor": EXTRACTOR,
    }
    if len(images) < 10 * DIMENSIONS:
        section["flag"] = f"small sample: {len(images)} images for {DIMENSIONS} features bias the distance upward"
    return section


def not_judged(reason: str, count: int = 0) -> dict[str, Any]:
    return {"metric": None, "distance": None, "kid": None, "count": count, "reference": None, "reason": reason}


def _half_sample_error(values: Tensor, statistics: Any) -> float | None:
    """Standard error of the distance at full size: half-sample spread over sqrt(2); None below 100 images."""
    if len(values) < 100:
        return None
    generator = torch.Generator().manual_seed(0)
    half = len(values) // 2
    drawn = [values[torch.randperm(len(values), generator=generator)[:half]] for _ in range(HALVES)]
    spread = torch.tensor([frechet_distance(part, statistics) for part in drawn]).std().item()
    return spread  # halves overlap: their spread is already that of the full sample (delete-half jackknife)
