"""The quality section of a record."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from dit_core.models import catalog
from dit_core.quality import intervals, references
from dit_core.quality.classifiers import accuracy_by_class, classifier_score
from dit_core.quality.features import DIMENSIONS, EXTRACTOR, MAP_SIDE, SIDE, Extracted, extract
from dit_core.quality.fid import FIGURES as FID_FIGURES
from dit_core.quality.fid import fid
from dit_core.quality.frechet import FrechetDistance, frechet_infinity
from dit_core.quality.intervals import (
    JACKKNIFE,
    Z95,
    Interval,
    by_halves,
    half_sample_error,
    of_balanced_share,
    of_mean,
    of_share,
    random_halves,
    student,
)
from dit_core.quality.kid import SUBSETS, kernel_distance_by_subsets
from dit_core.quality.manifold import NEIGHBOURS, recall_of, share_inside

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
INTERVAL = ("low", "high", "interval")
POINTS_OF_HALVES = 5  # of an extrapolation from a half; the more points, the longer it takes
OTHERS = (
    "intervals",
    "interval_method",
    "low",
    "high",
    "kid_standard_error",
    "class_accuracy_by_class",
    "class_accuracy_held_out",
    "not_finite_images",
)


@dataclass
class Judged:
    """Figures of one set of images by name, standard errors and intervals of some, and why others are unknown."""

    figures: dict[str, float | None] = field(default_factory=lambda: dict.fromkeys(FIGURES))
    errors: dict[str, float] = field(default_factory=dict)
    intervals: dict[str, Interval] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)


def judge(
    images: Tensor, model: str, labels: Sequence[int] | None = None, replicates: int = 1, *, broken: int = 0
) -> dict[str, Any]:
    """Every figure of (N, 3, H, W) uint8 images against the model's data; null with a reason where impossible.

    `images` holds `replicates` independent sets of equal size, one after the other; a figure is the mean of its values
    on the sets. `low` and `high` hold the distance's 95 % interval, `intervals` those of the other figures: from the
    replicates where there are several (Student's t), else from the one set, each by the method that it names.
    `labels` are the classes asked for, image by image; without them class accuracy is unknown. By class, it is the
    share of all images of that class, whichever set they are in. `broken` images had values that are not finite before
    they became bytes: then nothing is judged, for a mean over the others would flatter the network.
    """
    size = len(images) // replicates
    if broken:
        return {**not_judged(not_finite(broken, len(images)), size), "not_finite_images": broken}
    if size < 2:
        return not_judged("fewer than two images", size)
    if (images == images[:, :, :1, :1]).all():
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
    told = _intervals(found)
    section["intervals"] = {name: [one.low, one.high] for name, one in told.items()} | inception.get("intervals", {})
    section["interval_method"] = {k: one.method for k, one in told.items()} | inception.get("interval_method", {})
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
    everything, halves = torch.arange(size), random_halves(size)
    kid, error = kernel_distance_by_subsets(values.pooled, known.features)
    figures["kid"], judged.errors["kid"] = kid, error
    if (parts := min(SUBSETS, size // 2)) > 1:
        judged.intervals["kid"] = Interval.around(kid, student(parts - 1) * error, f"{parts} disjoint parts")
    figures["precision"] = share = share_inside(values.pooled, known.features, references.reference_radii())
    judged.intervals["precision"] = of_share(share, size)
    score = classifier_score(values.logits)
    figures["classifier_score"] = score.mean
    if score.interval:
        judged.intervals["classifier_score"] = score.interval
    if size < intervals.ENOUGH:
        few = f"{size} images are too few for a Frechet distance: judge {intervals.ENOUGH} or more"
        reasons.update(dict.fromkeys(("distance", "distance_infinity", "spatial_distance", *INTERVAL), few))
    else:
        figures["distance"] = distance.of(everything)
        judged.errors["distance"] = half_sample_error(distance.of, size)
        figures["distance_infinity"] = endless = frechet_infinity(distance)
        on_halves = [frechet_infinity(distance, POINTS_OF_HALVES, rows=rows) for rows in halves]
        judged.intervals["distance_infinity"] = by_halves(endless, on_halves)
        spatial = FrechetDistance(values.spatial, references.map_reference().statistics)
        figures["spatial_distance"] = apart = spatial.of(everything)
        judged.intervals["spatial_distance"] = by_halves(apart, [spatial.of(rows) for rows in halves])
    if size <= NEIGHBOURS:
        reasons["recall"] = f"a manifold of {NEIGHBOURS} neighbours needs more than {NEIGHBOURS} images"
    else:
        subsets = [everything, *halves] if size >= intervals.ENOUGH else [everything]
        figures["recall"], *on_halves = recall_of(subsets, values.pooled, known.features)
        if on_halves:
            found = by_halves(figures["recall"], on_halves)
            judged.intervals["recall"] = Interval(max(0.0, found.low), min(1.0, found.high), found.method)
    if labels is None:
        reasons["class_accuracy"] = reasons["class_accuracy_by_class"] = "the classes asked for are not known"
    else:
        shares = accuracy_by_class(references.classifier().scores(values.pooled), labels)
        figures["class_accuracy"] = statistics.fmean(shares.values())
        counts = [int((labels == label).sum()) for label in shares]
        judged.intervals["class_accuracy"] = of_balanced_share(list(shares.values()), counts)
    return judged


def _by_class(pooled: Tensor, labels: Tensor, names: Sequence[str]) -> dict[str, float]:
    """By class name, the share of its images that the classifier names right."""
    shares = accuracy_by_class(references.classifier().scores(pooled), labels)
    return {names[label]: share for label, share in shares.items()}


def _interval(found: list[Judged]) -> dict[str, Any]:
    """The distance's 95 % interval and how it was found; null for a single set of few images."""
    middle, error = _mean([one.figures["distance"] for one in found]), _standard_error("distance", found)
    if middle is None or error is None:
        return {"low": None, "high": None, "interval": None}
    several = of_mean([one.figures["distance"] or 0.0 for one in found], "replicates")
    low, high, how = several or Interval.around(middle, Z95 * error, JACKKNIFE)
    return {"low": low, "high": high, "interval": how}


def _intervals(found: list[Judged]) -> dict[str, Interval]:
    """The 95 % intervals of the figures but for the distance's; a figure that has none is left out."""
    if len(found) == 1:
        return found[0].intervals
    known = {name: [one.figures[name] for one in found] for name in FIGURES if name != "distance"}
    told = {name: of_mean([v for v in values if v is not None], "replicates") for name, values in known.items()}
    return {name: one for name, one in told.items() if one and None not in known[name]}


def _standard_error(name: str, found: list[Judged]) -> float | None:
    """Of the mean over replicates; of a single set the error that it tells itself."""
    if len(found) == 1:
        return found[0].errors.get(name)
    return statistics.stdev(one.figures[name] or 0.0 for one in found) / len(found) ** 0.5


def _mean(numbers: list[float | None]) -> float | None:
    """None where one is unknown."""
    return None if None in numbers else statistics.fmean(number or 0.0 for number in numbers)
