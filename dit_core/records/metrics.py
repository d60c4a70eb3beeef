"""The table of metrics: one entry describes everything about a number that compares runs. Imports no torch.

The schema check, the rules for reruns, plot axes, tiles, table columns, CSV and comparisons are derived from this
table. To add a metric, write the function that computes it and add an entry here. Other code refers to an entry, as in
`metrics.DISTANCE.read(record)`, or to a role, such as `metrics.PRIMARY_QUALITY`. Entries of costs are in
`cost_metrics`.
"""

from functools import partial

from dit_core.records.cost_metrics import (
    ENERGY,
    ENERGY_PER_IMAGE,
    FLOPS,
    LATENCY,
    MACS,
    PEAK_MEMORY,
    RELATIVE_TIME,
    RESERVED_MEMORY,
    SPEEDUP,
    THROUGHPUT,
    UTILIZATION,
    WEIGHT_BYTES,
)
from dit_core.records.kinds import COUNT, NOT_NEGATIVE, NUMBER, POSITIVE, SHARE, SIMILARITY, TEXT, table_of
from dit_core.records.metric import (
    PART_OF_INTERVAL,
    AxisGroup,
    Field,
    Metric,
    binomial,
    interval_fields,
    named_interval,
    standard_error,
)
from dit_core.records.tolerance import Exact, NotCompared, Seeded

NOT_FID = "Not FID; compare only within this dashboard."
OFFLINE = (
    f"Frechet distance on EfficientNet-Lite0 features. {NOT_FID}"  # what every page and table says of the distance
)
QUALITY_INTERVAL = "the 95 % interval of the quality figure"
PAIRS_INTERVAL = "the 95 % interval over the pairs"
SHARE_TOLERANCE = Seeded(absolute=0.01)
INCEPTION_TOLERANCE = Seeded(optional=True)
SIMILARITY_TOLERANCE = Seeded(absolute=0.02)  # rounding differs between thread counts and grows over the steps
PSNR_TOLERANCE = Seeded(absolute=1.0)  # dB

_quality = partial(
    Metric,
    section="quality",
    intervals=(named_interval,),
    interval_title=QUALITY_INTERVAL,
    axis="quality",
)
_by_features = partial(_quality, method_field="metric", tolerance=Seeded())
_by_inception = partial(_quality, method_field="fid_metric", flag_field="fid_flag", tolerance=INCEPTION_TOLERANCE)
_share = partial(
    _by_features,
    kind=SHARE,
    unit="%",
    scale=100,
    better="higher",
    tolerance=SHARE_TOLERANCE,
    tile="all",
    column_format="%.1f",
)
_same_seed = partial(
    Metric,
    section="fidelity",
    kind=SIMILARITY,
    better="higher",
    tolerance=SIMILARITY_TOLERANCE,
    intervals=(named_interval,),
    interval_title=PAIRS_INTERVAL,
    axis="fidelity",
    tile="candidates",
    column_format="%.3f",
)

DISTANCE = _by_features(
    name="distance",
    kind=NOT_NEGATIVE,
    required=True,
    title="Distance to real images (not FID)",
    short_title="Distance (not FID)",
    help=OFFLINE,
    better="lower",
    intervals=(named_interval, interval_fields("low", "high")),
    tile="all",
    column="Distance (not FID)",
    column_format="%.1f",
)
DETECTABLE = Field(section="quality", name="difference_detectable", kind=NOT_NEGATIVE, tolerance=PART_OF_INTERVAL)
DIFFERENCE = Metric(
    section="quality",
    name="difference",
    kind=NUMBER,
    title="Difference of the distance to the baseline's, same seeds",
    short_title="Difference to the baseline",
    help="Distance of this run minus that of its baseline, from images of the same seeds and classes.",
    better="lower",
    method_field="metric",
    intervals=(interval_fields("difference_low", "difference_high"),),
    interval_title="the 95 % interval of the paired difference",
    tolerance=Seeded(absolute=5.0),
    companions=(
        Field(section="quality", name="difference_low", kind=NUMBER, tolerance=PART_OF_INTERVAL),
        Field(section="quality", name="difference_high", kind=NUMBER, tolerance=PART_OF_INTERVAL),
        DETECTABLE,
        Field(section="quality", name="difference_method", kind=TEXT, tolerance=PART_OF_INTERVAL),
    ),
    column="Difference",
    column_format="%.1f",
)
KID = _by_features(
    name="kid",
    kind=NUMBER,
    required=True,
    title="KID",
    help="Kernel distance between the features of generated images and of real images.",
    better="lower",
    method_prefix="KID",
    intervals=(named_interval, standard_error("kid_standard_error")),
    companions=(Field(section="quality", name="kid_standard_error", kind=NOT_NEGATIVE, tolerance=PART_OF_INTERVAL),),
    column="KID",
    column_format="%.4f",
)
DISTANCE_INFINITY = _by_features(
    name="distance_infinity",
    kind=NUMBER,
    title="Distance, extrapolated to infinitely many images",
    help=f"{OFFLINE} Without the bias that the number of images adds.",
    better="lower",
    method_prefix="FD-infinity",
    column="FD-infinity",
    column_format="%.1f",
)
PRECISION = _share(
    name="precision",
    title="Precision",
    help="Share of generated images that look like real images.",
    method_prefix="Precision",
    intervals=(named_interval, binomial),
    column="Precision, %",
)
RECALL = _share(
    name="recall",
    title="Recall",
    help="Share of real images that the model can approximate.",
    method_prefix="Recall",
    column="Recall, %",
)
CLASS_ACCURACY_BY_CLASS = Field(
    section="quality",
    name="class_accuracy_by_class",
    kind=table_of(SHARE),
    tolerance=NotCompared("its mean, the class accuracy, is compared"),
)
CLASS_ACCURACY = _share(
    name="class_accuracy",
    title="Class accuracy",
    help="Share of generated images that a classifier, trained on real images, assigns to the requested class.",
    method_prefix="Class accuracy",
    intervals=(named_interval, binomial),
    companions=(
        CLASS_ACCURACY_BY_CLASS,
        Field(section="quality", name="class_accuracy_held_out", kind=SHARE, tolerance=Exact()),
    ),
    column="Class accuracy, %",
)
CLASSIFIER_SCORE = _by_features(
    name="classifier_score",
    kind=POSITIVE,
    title="Classifier score",
    help="Inception score computed with the bundled classifier instead of Inception.",
    better="higher",
    method_prefix="Classifier score",
)
SPATIAL_DISTANCE = _quality(
    name="spatial_distance",
    kind=NOT_NEGATIVE,
    title="Spatial distance",
    help="Frechet distance on spatial EfficientNet-Lite0 features, which are sensitive to the position of structures. "
    f"{NOT_FID}",
    better="lower",
    method_field="spatial_metric",
    tolerance=Seeded(),
)
FID = _by_inception(
    name="fid",
    kind=NOT_NEGATIVE,
    title="FID",
    help="Frechet inception distance (arXiv 1706.08500), on Inception's features.",
    better="lower",
    tile="all",
    column="FID",
    column_format="%.2f",
)
SFID = _by_inception(
    name="sfid",
    kind=NOT_NEGATIVE,
    title="sFID",
    help="Frechet distance between spatial Inception features.",
    better="lower",
    method_prefix="sFID",
)
INCEPTION_SCORE = _by_inception(
    name="inception_score",
    kind=POSITIVE,
    title="Inception score",
    help="How confident and how varied the classes are that Inception assigns to the images.",
    better="higher",
    method_prefix="Inception score",
    companions=(
        Field(section="quality", name="inception_score_spread", kind=NOT_NEGATIVE, tolerance=PART_OF_INTERVAL),
    ),
)
JUDGED_IMAGES = Metric(
    section="quality",
    name="count",
    kind=COUNT,
    required=True,
    title="Judged images",
    help="Number of images that quality metrics are computed from.",
    tolerance=Exact(),
    column="Judged",
    column_format="%d",
)
PSNR = _same_seed(
    name="psnr_db",
    kind=NUMBER,
    required=True,
    title="PSNR to the baseline",
    short_title="PSNR",
    help="Peak signal-to-noise ratio to the baseline's image from the same seed and class, mean over pairs.",
    unit="dB",
    key="psnr",
    tolerance=PSNR_TOLERANCE,
    column="PSNR, dB",
    column_format="%.1f",
)
SSIM = _same_seed(
    name="ssim",
    required=True,
    title="SSIM to the baseline",
    short_title="SSIM",
    help="Structural similarity to the baseline's image from the same seed and class, mean over pairs.",
    column="SSIM",
)
FEATURE_COSINE = _same_seed(
    name="feature_cosine",
    title="Feature cosine to the baseline",
    short_title="Feature cosine",
    help="Cosine between the features of an image and of the baseline's image from the same seed and class, mean over "
    "pairs.",
    key="cosine",
    companions=(Field(section="fidelity", name="feature_extractor", kind=TEXT, tolerance=Exact()),),
    column="Feature cosine",
)

COSTS = (RELATIVE_TIME, SPEEDUP, LATENCY, THROUGHPUT, PEAK_MEMORY, WEIGHT_BYTES, FLOPS, MACS, ENERGY)
# The costs, then every other entry of this module: the order of axes, rows, columns and tiles.
METRICS: tuple[Metric, ...] = tuple(
    dict.fromkeys([*COSTS, *(entry for entry in list(globals().values()) if isinstance(entry, Metric))])
)
ON_GPU = (PEAK_MEMORY, RESERVED_MEMORY, ENERGY_PER_IMAGE, UTILIZATION)  # what pages show first of a run on a GPU
PRIMARY_QUALITY = DISTANCE
FRECHET = (DISTANCE, FID)  # easily confused: N and the reference are named next to both
PRIMARY_COST = RELATIVE_TIME
PRIMARY_FIDELITY = PSNR


def by_name(name: str) -> Metric:
    """Return the metric of that name; raises KeyError if there is none."""
    return _BY_NAME[name]


def on_axis(*groups: AxisGroup) -> list[Metric]:
    """Return the metrics that plots of these groups can show, in order."""
    return [metric for metric in METRICS if metric.axis in groups]


def fields() -> list[Field]:
    """Return every field that metrics keep in a record: their own, their baseline's and their companions."""
    result: list[Field] = []
    for metric in METRICS:
        baseline = metric.of_baseline()
        result += [metric] * metric.recorded + ([baseline] if baseline else []) + list(metric.companions)
    return result


_BY_NAME = {metric.name: metric for metric in METRICS}
