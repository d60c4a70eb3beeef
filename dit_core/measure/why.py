"""What explains a run's time: the device's roofline, the share of each part, and a sentence made from both."""

from collections.abc import Callable
from typing import Any

from dit_core.measure.explain import explain
from dit_core.measure.profile import NotProfiled, time_shares
from dit_core.measure.roofline import bound, roofline
from dit_core.models.model import Model

Side = tuple[Callable[[], None], Model]  # a call and the model that it runs


def why(sections: dict[str, dict[str, Any]], environment: dict[str, Any], candidate: Side, baseline: Side) -> None:
    """Add to the sections latency, flops and speedup what explains them; `baseline` is `candidate` without a recipe."""
    latency, flops, speedup = (sections[name] for name in ("latency", "flops", "speedup"))
    flops["roofline"] = bound(flops["flops"], flops["int8_ops"], flops["moved_bytes"], roofline(environment))
    _add_shares(latency, "time_shares", candidate)
    if baseline[1].dit is candidate[1].dit:
        speedup.update(baseline_time_shares=None)
    else:
        _add_shares(speedup, "baseline_time_shares", baseline)
    sentence = explain(latency, sections["memory"], flops, speedup)
    speedup["explanation"] = sentence or None
    if not sentence:
        _give_reason(speedup, "explanation", "the figures do not tell")


def _add_shares(section: dict[str, Any], name: str, side: Side) -> None:
    try:
        section[name] = time_shares(*side)
    except NotProfiled as error:
        section[name] = None
        _give_reason(section, name, str(error))


def _give_reason(section: dict[str, Any], name: str, reason: str) -> None:
    section["reasons"] = {**section.get("reasons", {}), name: reason}
