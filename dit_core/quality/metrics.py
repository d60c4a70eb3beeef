"""The quality metrics: one function each, which returns the `Figure` of an `EvaluationSet` or raises Unavailable.

A function has the name of its figure in a record. A new metric is one function here and one entry in
`dit_core.records.metrics`, which also names its companion fields in a record.
"""

import statistics
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from dit_core.quality import intervals
from dit_core.quality.classifiers import accuracy_by_class, score_over_splits
from dit_core.quality.evaluation_set import EvaluationSet, Figure
from dit_core.quality.frechet import Statistics, SubsetDistance, frechet_distance
from dit_core.quality.frechet import frechet_infinity as extrapolated
from dit_core.quality.intervals import (
    Interval,
    balanced_share_interval,
    jackknife_interval,
    share_interval,
)
from dit_core.quality.judgement import Unavailable
from dit_core.quality.kid import SUBSETS, kernel_distance_by_subsets
from dit_core.quality.precision_recall import NEIGHBOURS, recall_of, share_inside
from dit_core.quality.references import ImageReference
from dit_core.system.statistics import student_quantile

EfficientNetSet = EvaluationSet[ImageReference]
Metric = Callable[[Any], Figure]

EFFICIENTNET: dict[str, Metric] = {}  # metrics of the offline extractor, by name
INCEPTION: dict[str, Metric] = {}  # metrics of Inception's features, by name
HALF_POINTS = 5  # subsets in the extrapolation of a half; more points take longer


def metric(registry: dict[str, Metric]) -> Callable[[Metric], Metric]:
    """Add a function to the metrics of an extractor, under its own name."""

    def register(function: Metric) -> Metric:
        registry[function.__name__] = function
        return function

    return register


@metric(EFFICIENTNET)
def distance(images: EfficientNetSet) -> Figure:
    """Frechet distance of the pooled features (arXiv 1706.08500)."""
    return _frechet(images.features.pooled, images.reference.pooled, images.pooled_distance)


@metric(EFFICIENTNET)
def distance_infinity(images: EfficientNetSet) -> Figure:
    """The Frechet distance extrapolated to infinitely many images (arXiv 1911.07023)."""
    size = _enough(len(images))
    value = extrapolated(images.pooled_distance)
    interval = jackknife_interval(
        value, lambda rows: extrapolated(images.pooled_distance, HALF_POINTS, rows=rows), size
    )
    return Figure(value, interval)


@metric(EFFICIENTNET)
def kid(images: EfficientNetSet) -> Figure:
    """Kernel distance of the pooled features (arXiv 1801.01401); its interval is from disjoint parts."""
    value, error = kernel_distance_by_subsets(images.features.pooled, images.reference.features)
    parts, companions = min(SUBSETS, len(images) // 2), {"kid_standard_error": error}
    if parts < 2:
        return Figure(value, None, companions)
    return Figure(
        value, Interval.around(value, student_quantile(parts - 1) * error, f"{parts} disjoint parts"), companions
    )


@metric(EFFICIENTNET)
def spatial_distance(images: EfficientNetSet) -> Figure:
    """Frechet distance of the spatial features, after sFID (arXiv 2103.03841)."""
    return _frechet(images.features.spatial, images.reference.spatial)


@metric(EFFICIENTNET)
def precision(images: EfficientNetSet) -> Figure:
    """Share of generated images inside the real images' manifold (arXiv 1904.06991)."""
    share = share_inside(images.features.pooled, images.reference.features, images.reference.radii)
    return Figure(share, share_interval(share, len(images)))


@metric(EFFICIENTNET)
def recall(images: EfficientNetSet) -> Figure:
    """Share of real images inside the generated images' manifold (arXiv 1904.06991)."""
    size = len(images)
    if size <= NEIGHBOURS:
        raise Unavailable(f"a manifold of {NEIGHBOURS} neighbours needs more than {NEIGHBOURS} images")
    halves = intervals.random_halves(size) if size >= intervals.ENOUGH else []
    value, *on_halves = recall_of([torch.arange(size), *halves], images.features.pooled, images.reference.features)
    if not on_halves:
        return Figure(value)
    half_width = intervals.Z95 * statistics.stdev(on_halves)
    return Figure(value, Interval.around(value, half_width, intervals.JACKKNIFE).within(0.0, 1.0))


@metric(EFFICIENTNET)
def classifier_score(images: EfficientNetSet) -> Figure:
    """The formula of the inception score (arXiv 1606.03498) with EfficientNet's logits."""
    score = score_over_splits(images.features.logits)
    return Figure(score.mean, score.interval)


@metric(EFFICIENTNET)
def class_accuracy(images: EfficientNetSet) -> Figure:
    """Share of images that a classifier of real images assigns to the requested class; the mean over the classes."""
    if images.labels is None:
        raise Unavailable("the requested classes are unknown")
    if images.reference.classifier is None:
        raise Unavailable("the classes of the reference images are not those of the model")
    shares = accuracy_by_class(images.reference.classifier.scores(images.features.pooled), images.labels)
    counts = [int((images.labels == label).sum()) for label in shares]
    return Figure(statistics.fmean(shares.values()), balanced_share_interval(list(shares.values()), counts))


@metric(INCEPTION)
def fid(images: EvaluationSet) -> Figure:
    """Frechet inception distance (arXiv 1706.08500)."""
    return _frechet(images.features.pooled, images.reference.pooled)


@metric(INCEPTION)
def sfid(images: EvaluationSet) -> Figure:
    """Frechet distance of Inception's spatial features (arXiv 2103.03841)."""
    if images.reference.spatial is None:
        raise Unavailable("the reference has no spatial statistics")
    return _frechet(images.features.spatial, images.reference.spatial)


@metric(INCEPTION)
def inception_score(images: EvaluationSet) -> Figure:
    """Inception score: mean and standard deviation over splits of the images (arXiv 1606.03498)."""
    score = score_over_splits(images.features.logits)
    return Figure(score.mean, score.interval, {"inception_score_spread": score.spread})


def _frechet(features: Tensor, reference: Statistics, subsets: SubsetDistance | None = None) -> Figure:
    """The Frechet distance of (N, D) features, with a jackknife interval."""
    size = _enough(len(features))
    value = frechet_distance(features, reference)
    return Figure(value, jackknife_interval(value, (subsets or SubsetDistance(features, reference)).of, size))


def _enough(size: int) -> int:
    """Return `size`; raises Unavailable if a Frechet distance of so many images is mostly bias."""
    if size < intervals.ENOUGH:
        raise Unavailable(f"{size} images are too few for a Frechet distance: use {intervals.ENOUGH} or more")
    return size
