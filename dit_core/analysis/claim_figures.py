"""The figures that claims are about: how each is computed from a record and its peer. Imports no torch."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from dit_core.records import metrics
from dit_core.records.metric import Metric
from dit_core.records.record import RunRecord

SAME_SIZE = 0.1  # relative difference of weight bytes up to which two networks have equal capacity


class Figure(NamedTuple):
    """A value with its interval; without an interval both ends equal the value."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class ClaimFigure:
    """How to compute, write and explain one figure.

    `compute` gets a record and its peer (None if there is none) and returns None if the figure is unknown, because of
    what `missing` says. `meaning` follows the value in a sentence: `50 %` `of the baseline's weight bytes saved`.
    """

    compute: Callable[[RunRecord, RunRecord | None], Figure | None]
    format: Callable[[float], str]
    meaning: str
    missing: str


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


def _weight_saving(record: RunRecord, peer: RunRecord | None) -> Figure | None:
    return _saving(metrics.WEIGHT_BYTES.read(record), metrics.WEIGHT_BYTES.read_baseline(record))


def _peak_saving(record: RunRecord, peer: RunRecord | None) -> Figure | None:
    return _saving(metrics.PEAK_MEMORY.read(record), metrics.PEAK_MEMORY.read(peer) if peer else None)


def _flops_saving(record: RunRecord, peer: RunRecord | None) -> Figure | None:
    if record.flops["uncounted"]:
        return None
    return _saving(metrics.FLOPS.read(record), metrics.FLOPS.read_baseline(record))


def _speedup(record: RunRecord, peer: RunRecord | None) -> Figure | None:
    return _with_interval(metrics.SPEEDUP, record)


def _speedup_at_equal_size(record: RunRecord, peer: RunRecord | None) -> Figure | None:
    saving = _weight_saving(record, peer)
    return _speedup(record, peer) if saving and abs(saving.value) <= SAME_SIZE else None


def _throughput_loss(record: RunRecord, peer: RunRecord | None) -> Figure | None:
    speedup = _speedup(record, peer)
    return Figure(1 - speedup.value, 1 - speedup.high, 1 - speedup.low) if speedup else None


def _fid_increase(record: RunRecord, peer: RunRecord | None) -> Figure | None:
    if peer is None or not metrics.FID.comparable(record, peer):
        return None
    increase = (metrics.FID.read(record) or 0.0) - (metrics.FID.read(peer) or 0.0)
    return Figure(increase, increase, increase)


def _distance_increase(record: RunRecord, peer: RunRecord | None) -> Figure | None:
    """Return the increase relative to the peer's distance; half widths of both intervals add in quadrature."""
    metric = metrics.PRIMARY_QUALITY
    if peer is None or not metric.comparable(record, peer):
        return None
    own, other = metric.half_width(record), metric.half_width(peer)
    value, scale = metric.read(record), metric.read(peer)
    if own is None or other is None or value is None or not scale:
        return None
    increase, half_width = value - scale, math.hypot(own, other)
    return Figure(increase / scale, (increase - half_width) / scale, (increase + half_width) / scale)


def _with_interval(metric: Metric, record: RunRecord) -> Figure | None:
    value = metric.read(record)
    return None if value is None else Figure(value, *(metric.interval(record) or (value, value)))


def _saving(value: float | None, baseline: float | None) -> Figure | None:
    if value is None or not baseline:
        return None
    saving = 1 - value / baseline
    return Figure(saving, saving, saving)


NOT_TIMED = "the run was not timed against a baseline"
FIGURES: dict[str, ClaimFigure] = {
    "weight_saving": ClaimFigure(
        _weight_saving, percent, "of the baseline's weight bytes saved", "weights were not counted"
    ),
    "peak_saving": ClaimFigure(
        _peak_saving,
        percent,
        "of the baseline's peak memory saved",
        "there is no baseline record of the same workload and machine, or a peak is unknown",
    ),
    "flops_saving": ClaimFigure(
        _flops_saving, percent, "of the baseline's operations saved", "some operators have no formula"
    ),
    "speedup": ClaimFigure(_speedup, times, "the baseline's speed", NOT_TIMED),
    "speedup_at_equal_size": ClaimFigure(
        _speedup_at_equal_size,
        times,
        "the speed of a baseline of equal size",
        f"no run is within {percent(SAME_SIZE)} of its baseline's size",
    ),
    "throughput_loss": ClaimFigure(_throughput_loss, percent, "of the baseline's throughput lost", NOT_TIMED),
    "fid_increase": ClaimFigure(
        _fid_increase,
        difference,
        "in FID above the baseline's",
        "FID of the run and of its baseline needs Inception's weights",
    ),
    "distance_increase": ClaimFigure(
        _distance_increase,
        percent,
        "added to the baseline's distance to real images",
        "a run and its baseline need distances of the same method, with intervals",
    ),
}
