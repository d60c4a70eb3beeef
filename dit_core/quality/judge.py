"""The quality section of a record."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from dit_core.models import catalog
from dit_core.quality import references
from dit_core.quality.classifiers import accuracy_by_class, classifier_score
from dit_core.quality.features import DIMENSIONS, EXTRACTOR, MAP_SIDE, SIDE, Extracted, extract
from dit_core.quality.fid import FIGURES as FID_FIGURES
from dit_core.quality.fid import fid
from dit_core.quality.frechet import FrechetDistance, frechet_distance, frechet_infinity
from dit_core.quality.kid import kernel_distance_by_subsets
from dit_core.quality.manifold import NEIGHBOURS, radii, share_inside

HALVES = 8
Z95 = 1.96
ENOUGH = 100  # images below which neither an interval nor an extrapolation is tried
FIGURES = (
    "distance",
    "distance_infinity",
    "kid",
    "spatial_distance",
    "precision",
    "recall",
    "classifier_score",
    "class_accuracy",
)
NAMES = ("metric", "spatial_metric", "fid_metric", "reference", "extractor", "interval")
OTHERS = (
    "low",
    "high",
    "kid_standard_error",
    "class_accuracy_by_class",
    "class_accuracy_held_out",
    "not_finite_images",
)
# Quantiles 0.975 of Student's t with 1 to 9 degrees of freedom.
_T975 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)


@dataclass
class Judged:
    """Figures of one set of images by name, standard errors of some, and why others are unknown."""

    figures: dict[str, float | None] = field(default_factory=lambda: dict.fromkeys(FIGURES))
    errors: dict[str, float] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)


def judge(
    images: Tensor, model: str, labels: Sequence[int] | None = None, replicates: int = 1, *, broken: int = 0
) -> dict[str, Any]:
    """Every figure of (N, 3, H, W) uint8 images against the model's data; null with a reason where impossible.

    `images` holds `replicates` independent sets of equal size, one after the other; a figure is the mean of its values
    on the sets. `low` and `high` hold the distance's 95 % interval: from the replicates where there are several
    (Student's t), else from random halves of the one set, whose spread is that of the whole.
    `labels` are the classes asked for, image by image; without them class accuracy is unknown. By class, it is the
    share of all images of that class, whichever set they are in. `broken` images had values that are not finite before
    they became bytes: then nothing is judged, for a mean over the others would flatter the network.
    """
    size = len(images) // replicates
    if broken:
        return {**not_judged(not_finite(broken, len(images)), size), "not_finite_images": broken}
    if size < 2:
        return not_judged("fewer than two images", size)
    if (images.flatten(1).float().std(1) == 0).all():
        return not_judged("every image is a single colour", size)
    inception = fid(images, model, replicates)
    if model not in catalog.bundled():
        missing = not_judged(f"there are no reference statistics for {model}", size)
        return {**missing, "replicates": replicates, **inception}
    try:
        values = extract(images)
    except ValueError as error:
        return not_judged(str(error), size)
    asked = None if labels is None else torch.as_tensor(labels)
    sets = [slice(start, start + size) for start in range(0, size * replicates, size)]
    found = [_judge_set(values[rows], None if asked is None else asked[rows]) for rows in sets]
    known, digest = references.reference(), references.map_reference().digest
    section: dict[str, Any] = {
        "metric": f"FD {EXTRACTOR} {SIDE}px, {size} images, reference {known.digest}",
        "spatial_metric": f"spatial FD {EXTRACTOR} {SIDE}px, map of side {MAP_SIDE}, {size} images, reference {digest}",
        "reference": f"emoji train, {len(known.features)} images, {known.digest}",
        "extractor": EXTRACTOR,
        "count": size,
        "not_finite_images": 0,
        "replicates": replicates,
        **{name: _mean([one.figures[name] for one in found]) for name in FIGURES},
        "kid_standard_error": _standard_error("kid", found),
        "class_accuracy_by_class": None if asked is None else _by_class(values.pooled, asked, catalog.classes(model)),
        "class_accuracy_held_out": references.classifier().held_out_accuracy,
        **_interval(found),
        **inception,
    }
    if replicates > 1:
        section["replicate_values"] = {name: [one.figures[name] for one in found] for name in FIGURES}
    if reasons := {**found[0].reasons, **inception.get("reasons", {})}:
        section["reasons"] = reasons
    if size < 10 * DIMENSIONS:
        section["flag"] = f"small sample: {size} images for {DIMENSIONS} features bias the distance upward"
    return section


def not_finite(broken: int, count: int) -> str:
    """Why images with values that are not finite are not judged."""
    return f"{broken} of {count} images hold values that are not finite: the network or its sampling is broken"


def not_judged(reason: str, count: int = 0) -> dict[str, Any]:
    """A quality section without figures."""
    unknown = dict.fromkeys((*FIGURES, *FID_FIGURES, *NAMES, *OTHERS))
    return {**unknown, "count": count, "replicates": None, "reason": reason}


def _judge_set(values: Extracted, labels: Tensor | None) -> Judged:
    known, judged = references.reference(), Judged()
    figures, reasons, size = judged.figures, judged.reasons, len(values.pooled)
    distance = FrechetDistance(values.pooled, known.statistics)
    figures["distance"] = distance.of(torch.arange(size))
    figures["kid"], judged.errors["kid"] = kernel_distance_by_subsets(values.pooled, known.features)
    figures["spatial_distance"] = frechet_distance(values.spatial, references.map_reference().statistics)
    figures["precision"] = share_inside(values.pooled, known.features, references.reference_radii())
    figures["classifier_score"] = classifier_score(values.logits)[0]
    if size < ENOUGH:
        reasons["distance_infinity"] = f"fewer than {ENOUGH} images cannot be extrapolated from"
        reasons["low"] = reasons["high"] = reasons["interval"] = f"fewer than {ENOUGH} images give no interval"
    else:
        figures["distance_infinity"] = frechet_infinity(distance)
        judged.errors["distance"] = _half_sample_error(distance)
    if size <= NEIGHBOURS:
        reasons["recall"] = f"a manifold of {NEIGHBOURS} neighbours needs more than {NEIGHBOURS} images"
    else:
        figures["recall"] = share_inside(known.features, values.pooled, radii(values.pooled))
    if labels is None:
        reasons["class_accuracy"] = reasons["class_accuracy_by_class"] = "the classes asked for are not known"
    else:
        figures["class_accuracy"] = references.classifier().accuracy(values.pooled, labels)
    return judged


def _by_class(pooled: Tensor, labels: Tensor, names: Sequence[str]) -> dict[str, float]:
    """By class name, the share of its images that the classifier names right."""
    shares = accuracy_by_class(references.classifier().scores(pooled), labels)
    return {names[label]: share for label, share in shares.items()}


def _half_sample_error(distance: FrechetDistance) -> float:
    """Standard error of the distance at full size, from random halves without repeats.

    A half varies more than a whole by sqrt(2), and halves of one set spread by 1 / sqrt(2) of that: both cancel.
    Resampling with repeats would shift the distance itself.
    """
    size, generator = len(distance.values), torch.Generator().manual_seed(0)
    halves = [torch.randperm(size, generator=generator)[: size // 2] for _ in range(HALVES)]
    return statistics.stdev(distance.of(rows) for rows in halves)


def _interval(found: list[Judged]) -> dict[str, Any]:
    """The distance's 95 % interval and how it was found; null for a single set of few images."""
    middle, error = _mean([one.figures["distance"] for one in found]), _standard_error("distance", found)
    if middle is None or error is None:
        return {"low": None, "high": None, "interval": None}
    several = len(found) > 1
    half = (_T975[len(found) - 2] if several else Z95) * error
    how = f"{len(found)} replicates, Student's t" if several else f"{HALVES} random halves (delete-half jackknife)"
    return {"low": middle - half, "high": middle + half, "interval": how}


def _standard_error(name: str, found: list[Judged]) -> float | None:
    """Of the mean over replicates; of a single set the error that it tells itself."""
    if len(found) == 1:
        return found[0].errors.get(name)
    return statistics.stdev(one.figures[name] or 0.0 for one in found) / len(found) ** 0.5


def _mean(numbers: list[float | None]) -> float | None:
    """None where one is unknown."""
    return None if None in numbers else statistics.fmean(number or 0.0 for number in numbers)
