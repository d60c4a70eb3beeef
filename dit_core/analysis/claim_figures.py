"""The figures that claims are about: how each is computed from a record and its peer. Imports no torch.

A figure counts only with its interval. A figure that is counted (bytes of weights, operations) is exact: its interval
has no width. A figure that was measured without an interval is unknown.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from dit_core.models import sources
from dit_core.records import metrics
from dit_core.records.metric import Metric
from dit_core.records.paired import missing_replicates
from dit_core.records.record import RunRecord
from dit_core.records.spec import RunSpec
from dit_core.records.tolerance import Relative
from dit_core.system import devices
from dit_core.system.statistics import normal_quantile, student_quantile

SAME_SIZE = 0.1  # relative difference of weight bytes up to which two networks have equal capacity
CONFIDENCE = 0.95  # of the intervals in records
SPEEDUP_DEGREES = 2  # of freedom: the interval of a speed-up is Student's over three processes (measure.interval)
STUDENT = re.compile(r"(\d+) (?:.* )?(?:Student's t|jackknife\))")


@dataclass(frozen=True)
class Figure:
    """A value with its 95 % interval. `degrees` of freedom belong to Student's t; None means a normal law.

    `ratio` says that the interval is symmetric on a logarithmic scale.
    """

    value: float
    low: float
    high: float
    degrees: int | None = None
    ratio: bool = False

    def simultaneous(self, count: int) -> "Figure":
        """Return the figure with the interval that it has as one of `count`, which hold together with 95 %.

        Each interval gets the confidence 0.95 ** (1 / count) (Sidak, doi 10.1080/01621459.1967.10482935), by the
        quantiles of its own law, so that the best of many is no better than its selection allows. The correction is
        conservative for figures that depend on each other, as those with a common baseline do.
        """
        wider = _quantile(CONFIDENCE ** (1 / count), self.degrees) / _quantile(CONFIDENCE, self.degrees)
        if self.ratio:
            log, down, up = math.log(self.value), math.log(self.low), math.log(self.high)
            return replace(self, low=math.exp(log - wider * (log - down)), high=math.exp(log + wider * (up - log)))
        down, up = wider * (self.value - self.low), wider * (self.high - self.value)
        return replace(self, low=self.value - down, high=self.value + up)


@dataclass(frozen=True)
class ClaimFigure:
    """How to compute, write and explain one figure.

    `compute` gets a record and its peer (None if there is none) and returns None if the figure is unknown, because of
    what `missing` says. `meaning` follows the value in a sentence: `50 %` `of the baseline's weight bytes saved`.
    `of_machine` says that the figure depends on the machine, so that the same run on another machine is another
    setting. `needs_peer` says that it is computed from two records.
    """

    compute: Callable[[RunRecord, RunRecord | None], Figure | None]
    format: Callable[[float], str]
    meaning: str
    missing: str
    of_machine: bool = False
    needs_peer: bool = False


def percent(value: float) -> str:
    """Return a share as text: whole percent, or two digits below one percent."""
    scaled = 100 * value
    return f"{scaled:.0f} %" if abs(scaled) >= 1 or not round(scaled, 2) else f"{scaled:.2f} %"


def times(value: float) -> str:
    """Return a ratio as text."""
    return f"{value:.2f} times"


def difference(value: float) -> str:
    """Return a difference as text, with its sign."""
    return f"{value:+.2f}"


def _quantile(confidence: float, degrees: int | None) -> float:
    return normal_quantile((1 + confidence) / 2) if degrees is None else student_quantile(degrees, confidence)


def _degrees(method: str | None) -> int | None:
    """Return the degrees of freedom of an interval from its method: one less than `16 random halves` or `3 replicates`.

    None if it is unknown or not Student's.
    """
    match = STUDENT.match(method or "")
    return int(match[1]) - 1 if match and int(match[1]) > 1 else None


def _weight_saving(record: RunRecord, peer: RunRecord | None) -> Figure | None:
    return _saving(metrics.WEIGHT_BYTES.read(record), metrics.WEIGHT_BYTES.read_baseline(record))


def _size_ratio_16_bits(record: RunRecord, peer: RunRecord | None) -> Figure | None:
    """Return how many times smaller than in 16 bits the weights are; the baseline's may have 32 bits."""
    own, before = metrics.WEIGHT_BYTES.read(record), metrics.WEIGHT_BYTES.read_baseline(record)
    if not own or not before:
        return None
    in_16_bits = before / (2 if RunSpec.from_dict(record.spec).precision in ("float32", "tf32") else 1)
    return _exact(in_16_bits / own)


def _peak_saving(record: RunRecord, peer: RunRecord | None) -> Figure | None:
    """Return the saving; a peak of a process on a CPU is read once, and known up to the tolerance of its reruns."""
    own, other = metrics.PEAK_MEMORY.read(record), metrics.PEAK_MEMORY.read(peer) if peer else None
    if own is None or not other or record.memory.get("peak_kind") != (peer.memory.get("peak_kind") if peer else None):
        return None
    rule, counted = metrics.PEAK_MEMORY.tolerance, devices.kind(record.environment["device"]) == "cuda"
    share = 0.0 if counted or not isinstance(rule, Relative) else math.hypot(rule.share, rule.share)
    ratio = own / other
    return Figure(1 - ratio, 1 - ratio * (1 + share), 1 - ratio * (1 - share))


def _flops_saving(record: RunRecord, peer: RunRecord | None) -> Figure | None:
    if record.flops["uncounted"]:
        return None
    return _saving(metrics.FLOPS.read(record), metrics.FLOPS.read_baseline(record))


def _speedup(record: RunRecord, peer: RunRecord | None) -> Figure | None:
    ratio, ends = metrics.SPEEDUP.stored(record), metrics.SPEEDUP.interval(record)
    return Figure(ratio, *ends, degrees=SPEEDUP_DEGREES, ratio=True) if ratio and ends and ends[0] > 0 else None


def _speedup_over_peer(record: RunRecord, peer: RunRecord | None) -> Figure | None:
    """Return the ratio of two speed-ups over the same baseline; the logarithms of both intervals add in quadrature."""
    own, other = _speedup(record, None), _speedup(peer, None) if peer else None
    if own is None or other is None:
        return None
    ratio = own.value / other.value
    down = math.hypot(math.log(own.value / own.low), math.log(other.high / other.value))
    up = math.hypot(math.log(own.high / own.value), math.log(other.value / other.low))
    return replace(own, value=ratio, low=ratio * math.exp(-down), high=ratio * math.exp(up))


def _of_equal_size(compute: Callable[[RunRecord, RunRecord | None], Figure | None]) -> Any:
    """Return a figure that only runs with a baseline of the same size have."""

    def figure(record: RunRecord, peer: RunRecord | None) -> Figure | None:
        saving = _weight_saving(record, None)
        return compute(record, peer) if saving and abs(saving.value) <= SAME_SIZE else None

    return figure


def _speedup_of_half(record: RunRecord, peer: RunRecord | None) -> Figure | None:
    """Return the speed-up of a network with half of its blocks."""
    source = sources.find_if_known(record.spec["model"])
    kept = next((entry["keep"] for entry in record.spec["techniques"] if "keep" in entry), None)
    is_half = source is not None and source.size is not None and kept == source.size.depth / 2
    return _speedup(record, None) if is_half else None


def _throughput_loss(record: RunRecord, peer: RunRecord | None) -> Figure | None:
    speedup = _speedup(record, peer)
    if speedup is None:
        return None
    return Figure(1 - speedup.value, 1 - speedup.high, 1 - speedup.low, SPEEDUP_DEGREES)


def _fid_increase(record: RunRecord, peer: RunRecord | None) -> Figure | None:
    return _increase(metrics.FID, record, peer)


def _distance_increase(record: RunRecord, peer: RunRecord | None) -> Figure | None:
    """Return the increase relative to the peer's distance, from the pairs of the same seeds if the record has them."""
    metric = metrics.PRIMARY_QUALITY
    if peer is None or not metric.comparable(record, peer):
        return None
    scale = metric.read(peer)
    figure = _paired(record, peer) or _increase(metric, record, peer)
    if figure is None or not scale or scale <= 0:
        return None
    return replace(figure, value=figure.value / scale, low=figure.low / scale, high=figure.high / scale)


def _paired(record: RunRecord, peer: RunRecord) -> Figure | None:
    """Return the difference to the peer's distance on the same seeds; of two candidates, that of their differences."""
    own, other = _paired_difference(record), _paired_difference(peer)
    if own is None or not peer.spec["techniques"]:
        return own
    return None if other is None else _minus(own, other)


def _paired_difference(record: RunRecord) -> Figure | None:
    value, ends = metrics.DIFFERENCE.read(record), metrics.DIFFERENCE.interval(record)
    if value is None or ends is None or missing_replicates(record):
        return None
    return Figure(value, *ends, degrees=_degrees(record.quality.get("difference_method")))


def _increase(metric: Metric, record: RunRecord, peer: RunRecord | None) -> Figure | None:
    """Return the increase of a metric over the peer's; half widths of both intervals add in quadrature."""
    if peer is None or not metric.comparable(record, peer):
        return None
    own, other = (_measured(metric, side) for side in (record, peer))
    return None if own is None or other is None else _minus(own, other)


def _measured(metric: Metric, record: RunRecord) -> Figure | None:
    value, ends = metric.read(record), metric.interval(record)
    methods = {**(record.quality.get("interval_method") or {}), metrics.DISTANCE.name: record.quality.get("interval")}
    if value is None or ends is None or missing_replicates(record):
        return None
    return Figure(value, *ends, degrees=_degrees(methods.get(metric.name)))


def _minus(own: Figure, other: Figure) -> Figure:
    """Return the difference of two figures, with the fewer degrees of freedom."""
    value = own.value - other.value
    down = math.hypot(own.value - own.low, other.high - other.value)
    up = math.hypot(own.high - own.value, other.value - other.low)
    known = [figure.degrees for figure in (own, other) if figure.degrees is not None]
    return Figure(value, value - down, value + up, min(known, default=None))


def _saving(value: float | None, baseline: float | None) -> Figure | None:
    return None if value is None or not baseline else _exact(1 - value / baseline)


def _exact(value: float) -> Figure:
    return Figure(value, value, value)


NOT_TIMED = "the run was not timed against a baseline, or has no interval"
NOT_PAIRED = (
    "a run and the run that it is compared with need distances of the same method, images and machine, with intervals"
)
NOT_EQUAL = f"no run is within {percent(SAME_SIZE)} of its baseline's size, with an interval"
FIGURES: dict[str, ClaimFigure] = {
    "weight_saving": ClaimFigure(
        _weight_saving, percent, "of the baseline's weight bytes saved", "weights were not counted"
    ),
    "size_ratio_16_bits": ClaimFigure(
        _size_ratio_16_bits, times, "smaller than the same weights in 16 bits", "weights were not counted"
    ),
    "peak_saving": ClaimFigure(
        _peak_saving,
        percent,
        "of the baseline's peak memory saved",
        "there is no baseline record of the same workload and machine, or a peak is unknown",
        of_machine=True,
        needs_peer=True,
    ),
    "flops_saving": ClaimFigure(
        _flops_saving, percent, "of the baseline's operations saved", "some operators have no formula"
    ),
    "flops_saving_at_equal_size": ClaimFigure(
        _of_equal_size(_flops_saving), percent, "of the operations of a baseline of equal size saved", NOT_EQUAL
    ),
    "speedup": ClaimFigure(_speedup, times, "the baseline's speed", NOT_TIMED, of_machine=True),
    "speedup_of_half": ClaimFigure(
        _speedup_of_half, times, "the baseline's speed", "no timed run keeps half of the blocks", of_machine=True
    ),
    "speedup_over_peer": ClaimFigure(
        _speedup_over_peer,
        times,
        "the speed of the run that differs in these knobs",
        f"{NOT_TIMED}; both runs need the same machine and workload",
        of_machine=True,
        needs_peer=True,
    ),
    "speedup_at_equal_size": ClaimFigure(
        _of_equal_size(_speedup), times, "the speed of a baseline of equal size", NOT_EQUAL, of_machine=True
    ),
    "throughput_loss": ClaimFigure(
        _throughput_loss, percent, "of the baseline's throughput lost", NOT_TIMED, of_machine=True
    ),
    "fid_increase": ClaimFigure(
        _fid_increase,
        difference,
        "in FID above the baseline's",
        "FID of the run and of its baseline needs Inception's weights",
        needs_peer=True,
    ),
    "distance_increase": ClaimFigure(
        _distance_increase, percent, "added to the baseline's distance to real images", NOT_PAIRED, needs_peer=True
    ),
    "distance_increase_at_equal_size": ClaimFigure(
        _of_equal_size(_distance_increase),
        percent,
        "added to the distance of a baseline of equal size",
        f"{NOT_EQUAL}; {NOT_PAIRED}",
        needs_peer=True,
    ),
}
