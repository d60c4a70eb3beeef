"""The figures that claims are about: how each is read from a record and what it is compared with. Imports no torch."""

import math
from collections.abc import Callable
from typing import NamedTuple

from dit_core.spec import RunRecord

SAME_SIZE = 0.1  # relative difference of weight bytes within which two networks have equal capacity


class Found(NamedTuple):
    """A figure with its interval; both ends are the figure where it has none."""

    value: float
    low: float
    high: float


def _weight_saving(record: RunRecord, base: RunRecord | None) -> Found | None:
    return _saving(record.memory["weight_bytes"], record.memory["baseline_weight_bytes"])


def _peak_saving(record: RunRecord, base: RunRecord | None) -> Found | None:
    return _saving(record.memory["peak_memory_bytes"], base.memory["peak_memory_bytes"] if base else None)


def _flops_saving(record: RunRecord, base: RunRecord | None) -> Found | None:
    """Unknown where an operator was not counted."""
    return None if record.flops["uncounted"] else _saving(record.flops["flops"], record.flops["baseline_flops"])


def _speedup(record: RunRecord, base: RunRecord | None) -> Found | None:
    ratio, low, high = (record.speedup[name] for name in ("ratio", "low", "high"))
    return None if ratio is None else Found(ratio, low, high)


def _speedup_at_equal_size(record: RunRecord, base: RunRecord | None) -> Found | None:
    saving = _weight_saving(record, base)
    return _speedup(record, base) if saving and abs(saving.value) <= SAME_SIZE else None


def _throughput_loss(record: RunRecord, base: RunRecord | None) -> Found | None:
    found = _speedup(record, base)
    return Found(1 - found.value, 1 - found.high, 1 - found.low) if found else None


def _fid_increase(record: RunRecord, base: RunRecord | None) -> Found | None:
    names = [side.quality.get("fid_metric") if side else None for side in (record, base)]
    if base is None or names[0] is None or names[0] != names[1]:
        return None
    difference = record.quality["fid"] - base.quality["fid"]
    return Found(difference, difference, difference)


def _distance_increase(record: RunRecord, base: RunRecord | None) -> Found | None:
    """Relative to the baseline's distance; half widths of both intervals add in quadrature."""
    if base is None or not base.quality["distance"] or record.quality["metric"] != base.quality["metric"]:
        return None
    if None in [side.quality.get(name) for side in (record, base) for name in ("distance", "low", "high")]:
        return None
    half = math.hypot(_width(record), _width(base)) / 2
    difference, scale = record.quality["distance"] - base.quality["distance"], base.quality["distance"]
    return Found(difference / scale, (difference - half) / scale, (difference + half) / scale)


def _width(record: RunRecord) -> float:
    """Of the interval of the distance."""
    return record.quality["high"] - record.quality["low"]


def _saving(now: float | None, before: float | None) -> Found | None:
    if now is None or not before:
        return None
    saved = 1 - now / before
    return Found(saved, saved, saved)


def _percent(value: float) -> str:
    percent = 100 * value
    return f"{percent:.0f} %" if abs(percent) >= 1 or not round(percent, 2) else f"{percent:.2f} %"


def _times(value: float) -> str:
    return f"{value:.2f} times"


def _points(value: float) -> str:
    return f"{value:+.2f}"


Figure = Callable[[RunRecord, RunRecord | None], Found | None]
FIGURES: dict[str, tuple[Figure, Callable[[float], str]]] = {
    "weight_saving": (_weight_saving, _percent),
    "peak_saving": (_peak_saving, _percent),
    "flops_saving": (_flops_saving, _percent),
    "speedup": (_speedup, _times),
    "speedup_at_equal_size": (_speedup_at_equal_size, _times),
    "throughput_loss": (_throughput_loss, _percent),
    "fid_increase": (_fid_increase, _points),
    "distance_increase": (_distance_increase, _percent),
}
SHARE = {  # what a figure is a share or a multiple of
    "weight_saving": "of the baseline's weight bytes saved",
    "peak_saving": "of the baseline's peak memory saved",
    "flops_saving": "of the baseline's operations saved",
    "speedup": "the baseline's speed",
    "speedup_at_equal_size": "the speed of a baseline of equal size",
    "throughput_loss": "of the baseline's throughput lost",
    "fid_increase": "in FID over the baseline's",
    "distance_increase": "of the baseline's distance to real pictures added",
}
MISSING = {  # what a record lacks that has no such figure
    "weight_saving": "weights were not counted",
    "peak_saving": "there is no baseline record of the same workload and machine, or no peak",
    "flops_saving": "some operators have no formula",
    "speedup": "nothing was timed against a baseline",
    "speedup_at_equal_size": f"none is within {_percent(SAME_SIZE)} of its baseline's size",
    "throughput_loss": "nothing was timed against a baseline",
    "fid_increase": "FID needs Inception's weights, for the run and for its baseline",
    "distance_increase": "a run and its baseline must be judged alike, with intervals",
}
