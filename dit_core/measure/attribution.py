"""Attribute a run's time: the device's roofline, the share of each part, and one sentence from both."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

from dit_core.measure.profile import NotProfiled, time_shares
from dit_core.measure.roofline import device_peaks, roofline
from dit_core.models.model import Model
from dit_core.records.explanation import explain_baseline, explain_candidate
from dit_core.records.record import RunRecord

Side = tuple[Callable[[], None], Model]  # a call, and the model that it runs


def add_attribution(
    sections: dict[str, dict[str, Any]], environment: dict[str, Any], candidate: Side, baseline: Side
) -> None:
    """Add `flops.roofline`, the time shares of both sides and `speedup.explanation` to a record's sections, in place.

    `sections` has latency, memory, flops and speedup. Both sides have the same network if the run is a baseline.
    """
    latency, flops, speedup = (sections[name] for name in ("latency", "flops", "speedup"))
    flops["roofline"] = roofline(flops["flops"], flops["int8_ops"], flops["moved_bytes"], device_peaks(environment))
    _add_shares(latency, "time_shares", candidate)
    if baseline[1].dit is candidate[1].dit:
        speedup["baseline_time_shares"] = None
        explanation = explain_baseline(latency, flops)
    else:
        _add_shares(speedup, "baseline_time_shares", baseline)
        explanation = explain_candidate(cast("RunRecord", SimpleNamespace(**sections)))
    speedup["explanation"] = explanation or None
    if not explanation:
        _add_reason(speedup, "explanation", "a figure that the explanation needs is unknown")


def _add_shares(section: dict[str, Any], name: str, side: Side) -> None:
    try:
        section[name] = time_shares(*side)
    except NotProfiled as error:
        section[name] = None
        _add_reason(section, name, str(error))


def _add_reason(section: dict[str, Any], name: str, reason: str) -> None:
    section["reasons"] = {**section.get("reasons", {}), name: reason}
