"""Evaluate the quality of generated images: the quality section of a record."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import astuple
from typing import Any

import torch
from torch import Tensor

from dit_core.errors import BadRequest
from dit_core.models import sources
from dit_core.quality import efficientnet, inception, intervals, references
from dit_core.quality.classifiers import accuracy_by_class
from dit_core.quality.efficientnet import DIMENSIONS, EXTRACTOR, MAP_SIDE, SIDE
from dit_core.quality.evaluation_set import EvaluationSet, Figure
from dit_core.quality.fid_reference import fid_reference_of
from dit_core.quality.frechet import Reference, SubsetDistance, difference_of, difference_over
from dit_core.quality.inception import Inception
from dit_core.quality.intervals import mean_interval
from dit_core.quality.judgement import Unavailable, reference_digest
from dit_core.quality.metrics import EFFICIENTNET, INCEPTION, EfficientNetSet, Metric
from dit_core.records import metrics as table
from dit_core.records.own_metrics import NAME as OWN_METRICS
from dit_core.records.schema import OPTIONAL, REQUIRED

NO_BASELINE = "no images of a baseline were given to pair these with"
DISTANCE_INTERVAL = ("low", "high", "interval")  # other intervals are in `intervals` and `interval_method`

Outcome = Figure | Unavailable


def evaluate_images(
    images: Tensor,
    model: str,
    labels: Sequence[int] | None = None,
    replicates: int = 1,
    *,
    reference: str = "",
    broken: int = 0,
    baseline: Tensor | str = NO_BASELINE,
) -> dict[str, Any]:
    """Compute every quality metric of (N, 3, H, W) uint8 images; a figure that is unavailable is null with a reason.

    `images` holds `replicates` independent sets of equal size, one after the other; a figure is the mean of its values
    on the sets. `labels` are the N requested classes. `reference` is the path of a person's reference; by default the
    images are compared with the model's own. `low` and `high` are the 95 % interval of the distance,
    `intervals` those of the other figures: from the replicates by Student's t if there are several, else by the
    metric's own method. `baseline` (N, 1280) are the offline extractor's pooled features of the baseline's images of
    the same seeds, or why there are none; the difference of the distances is that of these pairs. `broken` images had
    values that are not finite before they became bytes: then nothing is computed, because a mean over the other images
    would flatter the network.
    """
    size = len(images) // replicates
    if broken:
        return {**not_evaluated(non_finite(broken, len(images)), size), "not_finite_images": broken}
    if size < 2:
        return not_evaluated("fewer than two images", size)
    if (images == images[:, :, :1, :1]).all():
        return not_evaluated("every image is a single colour", size)
    section = {**not_evaluated("", size), "replicates": replicates, "not_finite_images": 0}
    if reference:
        section["reference_digest"] = reference_digest(reference)
    outcomes: dict[str, list[Outcome]] = {}
    try:
        real = references.reference_of(model, reference)
        requested = None if labels is None else torch.as_tensor(labels)
        offline = EvaluationSet(efficientnet.extract(images), real, requested)
        section |= _offline_description(offline, size, sources.find(model).class_names or ())
        outcomes |= _outcomes(EFFICIENTNET, offline, replicates)
        section |= _paired(offline, baseline, replicates)
    except ValueError as error:  # also for a missing file: the run's other figures are kept
        section["reason"] = str(error)
    try:
        extractor = inception.load()
        images_and_reference = _inception_set(images, extractor, fid_reference_of(model, extractor, reference))
        section |= _inception_description(images_and_reference, size, extractor)
        outcomes |= _outcomes(INCEPTION, images_and_reference, replicates)
    except ValueError as error:
        outcomes |= {name: [Unavailable(str(error))] for name in INCEPTION}
    unpaired = section.pop("reasons", {})
    section |= _figures(outcomes, section)
    if unpaired:
        section["reasons"] = {**section.get("reasons", {}), **unpaired}
    return {name: value for name, value in section.items() if name != "reason" or value}


def build_reference(model: str, reference: str, progress: references.Progress) -> None:
    """Extract the features of a person's reference images, so that a run ends early if one of them is damaged.

    What is already in the cache is not computed again. Raises BadRequest for images that are damaged.
    """
    with suppress(Unavailable):
        references.reference_of(model, reference, progress)
    try:
        extractor = inception.load()
    except BadRequest:
        return  # only FID needs its weights
    fid_reference_of(model, extractor, reference, progress)


def evaluate_against(images: Tensor, extractor: Inception, reference: Reference) -> dict[str, Any]:
    """Compute Inception's metrics of (N, 3, H, W) uint8 images against a reference; unavailable figures are null.

    Raises BadRequest for fewer than two images, or if the reference has statistics of other features.
    """
    if len(images) < 2:
        raise BadRequest("FID and inception score need two images or more.")
    images_and_reference = _inception_set(images, extractor, reference)
    section = _inception_description(images_and_reference, len(images), extractor)
    return {**section, **_figures(_outcomes(INCEPTION, images_and_reference, replicates=1), section)}


def non_finite(broken: int, count: int) -> str:
    """Return why images with values that are not finite are not evaluated."""
    return f"{broken} of {count} images have values that are not finite: the network or its sampling is broken"


def not_evaluated(reason: str, count: int = 0) -> dict[str, Any]:
    """Return a quality section of `count` images whose figures are all null."""
    fields = [name for name in (*REQUIRED["quality"], *OPTIONAL["quality"]) if name != OWN_METRICS]
    return {**dict.fromkeys(fields), "count": count, "replicates": None, "reason": reason}


def _paired(images: EfficientNetSet, baseline: Tensor | str, replicates: int) -> dict[str, Any]:
    """Return the fields of the paired difference to the baseline; null with the reason if there is none."""
    names = [table.DIFFERENCE.name, *(field.name for field in table.DIFFERENCE.companions)]
    size = len(images) // replicates
    if not isinstance(baseline, str) and size < intervals.ENOUGH:
        baseline = f"{size} images are too few to compare Frechet distances: use {intervals.ENOUGH} or more"
    if isinstance(baseline, str):
        return {**dict.fromkeys(names), "reasons": dict.fromkeys(names, baseline)}
    if len(baseline) != len(images):
        raise BadRequest(f"{len(images)} images cannot be paired with {len(baseline)} of the baseline.")
    parts = [slice(start, start + size) for start in range(0, size * replicates, size)]
    pairs = [
        difference_of(images[part].pooled_distance, SubsetDistance(baseline[part], images.reference.pooled))
        for part in parts
    ]
    difference = pairs[0] if len(pairs) == 1 else difference_over([pair.value for pair in pairs])
    return dict(zip(names, astuple(difference), strict=True))


def _inception_set(images: Tensor, extractor: Inception, reference: Reference) -> EvaluationSet:
    features = extractor.extract(images)
    for values, known in ((features.pooled, reference.pooled), (features.spatial, reference.spatial)):
        if known is not None and len(known.mean) != values.shape[1]:
            raise BadRequest(
                f"The reference has statistics of {len(known.mean)} features, but Inception has {values.shape[1]}: "
                "name a reference file of guided-diffusion."
            )
    return EvaluationSet(features, reference)


def _offline_description(images: EfficientNetSet, size: int, class_names: Sequence[str]) -> dict[str, Any]:
    """Describe the offline metrics of sets of `size` images: their names, reference and classifier."""
    reference, name = images.reference, f"FD {EXTRACTOR} {SIDE}px"
    spatial_name = f"spatial {name}, map of side {MAP_SIDE}"
    description: dict[str, Any] = {
        "metric": f"{name}, {size} images, reference {reference.digest}",
        "spatial_metric": f"{spatial_name}, {size} images, reference {reference.spatial_digest}",
        "reference": f"{reference.title}, {reference.pooled.count} images, {reference.digest}",
        "extractor": EXTRACTOR,
    }
    if (classifier := reference.classifier) is not None:
        description["class_accuracy_held_out"] = classifier.held_out_accuracy
    if classifier and images.labels is not None:
        shares = accuracy_by_class(classifier.scores(images.features.pooled), images.labels)
        description["class_accuracy_by_class"] = {class_names[label]: share for label, share in shares.items()}
    if size < 10 * DIMENSIONS:
        description["flag"] = f"small sample: {size} images for {DIMENSIONS} features bias the distance upward"
    return description


def _inception_description(images: EvaluationSet, size: int, extractor: Inception) -> dict[str, Any]:
    """Describe Inception's metrics of sets of `size` images."""
    name = f"FID inception-2015-12-05 {extractor.digest} {inception.SIDE}px TF1 bilinear"
    description = {"fid_metric": f"{name}, {size} images, reference {images.reference.digest}"}
    dimensions = images.features.pooled.shape[1]
    if size < 10 * dimensions:
        description["fid_flag"] = f"small sample: {size} images for {dimensions} features bias FID upward"
    return description


def _outcomes(metrics: Mapping[str, Metric], images: EvaluationSet, replicates: int) -> dict[str, list[Outcome]]:
    """Compute each metric of each of the `replicates` sets in `images`."""
    size = len(images) // replicates
    sets = [images[start : start + size] for start in range(0, size * replicates, size)]
    return {name: [_outcome(metric, part) for part in sets] for name, metric in metrics.items()}


def _outcome(metric: Metric, images: EvaluationSet) -> Outcome:
    try:
        return metric(images)
    except Unavailable as error:
        return error


def _figures(outcomes: Mapping[str, list[Outcome]], description: Mapping[str, Any]) -> dict[str, Any]:
    """Combine the outcomes of the sets: figures, intervals and reasons under the keys that a record has.

    A null field that belongs to a metric in the table of metrics, or names its method, has the metric's reason.
    """
    combined = {name: _combined(each) for name, each in outcomes.items()}
    known = {name: figure for name, figure in combined.items() if isinstance(figure, Figure)}
    section: dict[str, Any] = {name: known[name].value if name in known else None for name in combined}
    section |= {key: value for figure in known.values() for key, value in figure.companions.items()}
    intervals = {name: figure.interval for name, figure in known.items() if figure.interval}
    if distance := intervals.pop("distance", None):
        section |= dict(zip(DISTANCE_INTERVAL, distance, strict=True))
    section["intervals"] = {name: [interval.low, interval.high] for name, interval in intervals.items()} or None
    section["interval_method"] = {name: interval.method for name, interval in intervals.items()} or None
    values = {name: [figure.value for figure in each] for name, each in outcomes.items() if name in known}
    if any(len(each) > 1 for each in values.values()):
        section["replicate_values"] = values
    reasons = {}
    for name, reason in combined.items():
        if isinstance(reason, Unavailable):
            fields = [name, *_fields_of(name)]
            reasons |= {key: str(reason) for key in fields if {**description, **section}.get(key) is None}
    return {**section, **({"reasons": reasons} if reasons else {})}


def _fields_of(name: str) -> Iterator[str]:
    """Yield the fields of a record that are null if a metric is unavailable."""
    metric = table.by_name(name)
    yield metric.method_field
    yield from (companion.name for companion in metric.companions)
    if name == "distance":
        yield from DISTANCE_INTERVAL


def _combined(outcomes: Sequence[Outcome]) -> Outcome:
    """Return the mean over several sets, with the interval of the mean; a reason if a set has no figure."""
    figures = []
    for number, outcome in enumerate(outcomes, start=1):
        if isinstance(outcome, Unavailable):
            return Unavailable(f"replicate {number} of {len(outcomes)}: {outcome}") if len(outcomes) > 1 else outcome
        figures.append(outcome)
    if len(figures) == 1:
        return figures[0]
    values = [figure.value for figure in figures]
    standard_error = statistics.stdev(values) / len(values) ** 0.5  # of the mean
    companions = {
        key: standard_error if key.endswith("_standard_error") else statistics.fmean(f.companions[key] for f in figures)
        for key in figures[0].companions
    }
    return Figure(statistics.fmean(values), mean_interval(values, "replicates"), companions)
