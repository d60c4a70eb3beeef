"""Figures of records as axes of plots and rows of tables: how each is read, its unit, and its error bar."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from dit_core.spec import RunRecord
from dit_core.store import Stored
from dit_core.ui import words

Spread = tuple[float, float]
Read = Callable[[RunRecord], float | None]
Reach = Callable[[RunRecord], Spread | None]
BUSY = (
    "Times of two runs differ with whatever else their machine did. The relative time was measured in turn with the "
    "baseline, in one job."
)


@dataclass(frozen=True)
class Axis:
    """One figure of a record as a plot's axis. `spread` is the lower and upper end of its error bar, if it has one."""

    key: str
    title: str
    unit: str
    better: Literal["less", "more"]
    read: Read
    spread: Reach = lambda record: None
    short: str = ""  # for the axis itself, where the title is long
    bars: str = ""  # what its error bars are
    caution: str = ""  # what to know before two values are compared

    @property
    def label(self) -> str:
        return f"{self.short or self.title}{f', {self.unit}' if self.unit else ''} ({self.better} is better)"

    @property
    def name(self) -> str:
        """Short, as it stands within a sentence."""
        short = self.short or self.title
        return short if short[:2].isupper() else short[0].lower() + short[1:]

    def text(self, value: float) -> str:
        return f"{words.significant(value)} {self.unit}".strip()


def relative_time(record: RunRecord) -> float | None:
    """Time as a share of the baseline's of the same job, 1 for the baseline itself."""
    ratio = _speedup(record)
    return None if ratio is None else 1 / ratio


def latency_spread(record: RunRecord) -> Spread | None:
    """The quartiles of the raw times of one call, in milliseconds."""
    raw: list[float] = sorted(record.latency.get("raw_s") or [])
    return (1e3 * _quantile(raw, 0.25), 1e3 * _quantile(raw, 0.75)) if len(raw) >= 4 else None


def distance_spread(record: RunRecord) -> Spread | None:
    """The interval of the distance, where there were images enough to tell it."""
    low, high = record.quality.get("low"), record.quality.get("high")
    return None if low is None or high is None else (low, high)


def share_spread(record: RunRecord, figure: str) -> Spread | None:
    """The interval of a share of the quality section, in percent."""
    return _interval(figure, 100, _share_spread(figure) if figure != "recall" else lambda record: None)(record)


def apart(one: Spread | None, other: Spread | None) -> bool:
    """Whether two intervals are known and do not overlap."""
    return one is not None and other is not None and (one[0] > other[1] or other[0] > one[1])


def quality_axes(runs: Sequence[Stored]) -> dict[str, Axis]:
    """Quality axes that at least one of these runs has. Every metric name is an axis of its own."""
    qualities = [stored.record.quality for stored in runs]
    axes = [
        axis(name)
        for source, made in _JUDGED.items()
        for name in dict.fromkeys(quality.get(source) for quality in qualities)
        if name
        for axis in made
    ]
    axes += _BY_SEED
    return {axis.title: axis for axis in axes if any(axis.read(stored.record) is not None for stored in runs)}


def cost_axes(keys: Sequence[str], runs: Sequence[Stored]) -> dict[str, Axis]:
    """Those of the cost axes that at least one of these runs has a figure for, by title."""
    return {COSTS[k].title: COSTS[k] for k in keys if any(COSTS[k].read(stored.record) is not None for stored in runs)}


def scaled(section: str, name: str, scale: float = 1.0) -> Read:
    """Reads one figure of a section, times `scale`."""

    def read(record: RunRecord) -> float | None:
        value = getattr(record, section).get(name)
        return None if value is None else value * scale

    return read


def _speedup(record: RunRecord) -> float | None:
    return record.speedup["ratio"] if record.spec["techniques"] else 1.0


def _speedup_spread(record: RunRecord) -> Spread | None:
    low, high = record.speedup["low"], record.speedup["high"]
    return (low, high) if low and high else None


def _percent_of_time(record: RunRecord) -> float | None:
    share = relative_time(record)
    return None if share is None else 100 * share


def _percent_of_time_spread(record: RunRecord) -> Spread | None:
    spread = _speedup_spread(record)
    return (100 / spread[1], 100 / spread[0]) if spread else None


def _throughput_spread(record: RunRecord) -> Spread | None:
    spread, batch = latency_spread(record), record.latency["batch_size"]
    return (1e3 * batch / spread[1], 1e3 * batch / spread[0]) if spread and batch and spread[0] > 0 else None


def _interval(figure: str, factor: float = 1, older: Reach = lambda record: None, section: str = "quality") -> Reach:
    """The 95 % interval that a record tells of a figure, times `factor`; of one that tells none, what `older` says."""

    def spread(record: RunRecord) -> Spread | None:
        ends = (getattr(record, section).get("intervals") or {}).get(figure)
        return (factor * ends[0], factor * ends[1]) if ends else older(record)

    return spread


def _kid_spread(record: RunRecord) -> Spread | None:
    value, error = record.quality.get("kid"), record.quality.get("kid_standard_error")
    return None if value is None or error is None else (value - 1.96 * error, value + 1.96 * error)


def _share_spread(figure: str) -> Reach:
    """The 95 % interval, in percent, of a share of independent images, by the normal approximation."""

    def spread(record: RunRecord) -> Spread | None:
        share, count = record.quality.get(figure), record.quality["count"] * (record.quality.get("replicates") or 1)
        if share is None or not count:
            return None
        half = 1.96 * (share * (1 - share) / count) ** 0.5
        return 100 * (share - half), 100 * (share + half)

    return spread


def _judged(
    figure: str,
    short: str,
    better: Literal["less", "more"] = "more",
    *,
    source: str = "metric",
    title: str = "",
    percent: bool = False,
    older: Reach = lambda record: None,
) -> Callable[[str], Axis]:
    """What makes the axis of a figure of the quality section, given the metric's name that the record has in `source`.

    `title` stands before the name's later words (extractor, size, count, reference), or the name stands alone. `older`
    gives the interval of a record that tells none.
    """
    factor = 100 if percent else 1
    spread = _interval(figure, factor, older)

    def made(metric: str) -> Axis:
        def read(record: RunRecord) -> float | None:
            value = record.quality.get(figure) if record.quality.get(source) == metric else None
            return None if value is None else factor * value

        named = f"{title} {metric.partition(' ')[2]}" if title else metric
        unit = "%" if percent else ""
        return Axis(f"{figure} {metric}", named, unit, better, read, spread, short, _OF_QUALITY)

    return made


def _quantile(ordered: list[float], q: float) -> float:
    position = q * (len(ordered) - 1)
    low = int(position)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (position - low)


_MIDDLE_HALF = "the middle half of the raw times"
_OF_QUALITY = "the 95 % interval of the quality figure"
_PAIRED = "the 95 % interval of the times measured in turn"
COSTS = {
    axis.key: axis
    for axis in (
        Axis(
            "relative_time",
            "Relative time",
            "% of baseline",
            "less",
            _percent_of_time,
            _percent_of_time_spread,
            bars=_PAIRED,
        ),
        Axis("speedup", "Speed-up", "times the baseline's speed", "more", _speedup, _speedup_spread, bars=_PAIRED),
        Axis(
            "latency",
            "Latency",
            "ms per batch",
            "less",
            scaled("latency", "latency_s", 1e3),
            latency_spread,
            bars=_MIDDLE_HALF,
            caution=BUSY,
        ),
        Axis(
            "throughput",
            "Throughput",
            "images/s",
            "more",
            scaled("latency", "throughput_images_per_s"),
            _throughput_spread,
            bars=_MIDDLE_HALF,
            caution=BUSY,
        ),
        Axis("flops", "Compute", "GFLOP per batch", "less", scaled("flops", "flops", 1e-9)),
        Axis("macs", "MACs", "GMAC per batch", "less", scaled("flops", "macs", 1e-9)),
        Axis("energy", "Energy", "J", "less", scaled("energy", "energy_j")),
        Axis("memory", "Peak memory", "MB", "less", scaled("memory", "peak_memory_bytes", 1e-6)),
        Axis("weights", "Weights", "MB", "less", scaled("memory", "weight_bytes", 1e-6)),
    )
}
TIME_AXES = ("relative_time", "speedup", "latency", "throughput", "flops", "macs", "energy")
MEMORY_AXES = ("memory", "weights")
# By the field of a record that names the metric: the axes that it has.
_JUDGED: dict[str, tuple[Callable[[str], Axis], ...]] = {
    "metric": (
        _judged("distance", "Distance to real images", "less", older=distance_spread),
        _judged("kid", "KID", "less", title="KID", older=_kid_spread),
        _judged("distance_infinity", "Distance, extrapolated to endless images", "less", title="FD-infinity"),
        _judged("precision", "Precision", title="Precision", percent=True, older=_share_spread("precision")),
        _judged("recall", "Recall", title="Recall", percent=True),
        _judged(
            "class_accuracy",
            "Class accuracy",
            title="Class accuracy",
            percent=True,
            older=_share_spread("class_accuracy"),
        ),
        _judged("classifier_score", "Classifier score", title="Classifier score"),
    ),
    "spatial_metric": (_judged("spatial_distance", "Spatial distance", "less", source="spatial_metric"),),
    "fid_metric": (
        _judged("fid", "FID", "less", source="fid_metric"),
        _judged("sfid", "sFID", "less", source="fid_metric", title="sFID"),
        _judged("inception_score", "Inception score", source="fid_metric", title="Inception score"),
    ),
}


def _by_seed(key: str, figure: str, title: str, unit: str = "") -> Axis:
    """The axis of a figure of the images against the baseline's from the same seeds."""
    return Axis(
        key,
        f"{title} to the baseline",
        unit,
        "more",
        scaled("fidelity", figure),
        _interval(figure, section="fidelity"),
        bars="the 95 % interval over the pairs",
    )


_BY_SEED = (
    _by_seed("psnr", "psnr_db", "PSNR", "dB"),
    _by_seed("ssim", "ssim", "SSIM"),
    _by_seed("cosine", "feature_cosine", "Feature cosine"),
)
