"""One sentence on the gap between operations saved and time saved, from a record's figures. Imports no torch."""

import math
from typing import TYPE_CHECKING, Any

from dit_core.records.cost_metrics import FLOPS, SPEEDUP, WEIGHT_BYTES
from dit_core.records.metric import Metric

if TYPE_CHECKING:
    from dit_core.records.record import RunRecord

# Parts of the measured time (`latency.time_shares`), as the sentence names them.
PART_NAMES = {
    "attention": "attention",
    "ffn": "the feed-forward networks",
    "modulation": "norms and modulation",
    "embedding": "the embedders and the final layer",
    "dequantization": "restoring weights from their stored form",
    "routing": "routing",
    "sampler": "the sampler",
    "vae": "the decoder",
}
# Parts that no technique on attention or feed-forward layers makes smaller.
UNCHANGED_PARTS = ("modulation", "embedding", "sampler", "vae")
COMPILATION = ("cold_s", "warm_s", "uncompiled_latency_s", "compiled_latency_s")  # fields of `latency.compilation`
THRESHOLD = 0.05  # smaller shares and gaps are not mentioned


def explanation_of(record: "RunRecord") -> str:
    """Return the sentence for a record in the wording of today; empty if none was stored with it."""
    if not record.speedup.get("explanation"):
        return ""
    if not record.spec["techniques"]:
        return explain_baseline(record.latency, record.flops)
    return explain_candidate(record)


def explain_baseline(latency: dict[str, Any], flops: dict[str, Any]) -> str:
    """Return what most of a baseline's time is spent on and what limits it; empty if its time was not profiled."""
    shares, roofline = latency.get("time_shares"), flops.get("roofline")
    if not shares:
        return ""
    largest = max(shares, key=lambda part: shares[part])
    sentence = f"{_percent(shares[largest])} of the time is spent on {PART_NAMES[largest]}"
    if not roofline:
        return f"{sentence}."
    limit = "arithmetic" if roofline["bound"] == "compute" else "memory traffic"
    least_s = f"{roofline['attainable_s']:.2g} s"
    return f"{sentence}; at this device's peak rates a call takes at least {least_s}, limited by {limit}."


def explain_candidate(record: "RunRecord") -> str:
    """Return what a recipe saves and how its time changes, with the main cause; empty if a figure is unknown.

    Of the record, only the sections latency, memory, flops and speedup are read.
    """
    operations, weights, ratio = _of_baseline(FLOPS, record), _of_baseline(WEIGHT_BYTES, record), SPEEDUP.stored(record)
    if ratio is None or not operations or not weights:
        return ""
    pace = _pace(ratio, SPEEDUP.interval(record))
    cause = _cause(record, ratio, operations)
    sentence = (
        f"It does {_percent(operations)} of the baseline's operations with {_percent(weights)} of its weight bytes and "
        f"{pace}"
    )
    return f"{sentence}: {cause}." if cause else f"{sentence}."


def compilation_cost(latency: dict[str, Any]) -> str:
    """Return how long compilation takes and after how many images it has paid for itself; empty if unknown."""
    if not (times := latency.get("compilation")):
        return ""
    cold_s, warm_s, before_s, after_s = (times[name] for name in COMPILATION)
    sentence = f"Compiling takes {cold_s:.1f} s, and {warm_s:.1f} s in a process that finds the compiled code on disk"
    saved_s = (before_s - after_s) / latency["batch_size"]  # of an image
    if saved_s <= 0:
        return f"{sentence}. The recipe is no faster for it, so compilation does not pay for itself."
    cold, warm = (math.ceil(seconds / saved_s) for seconds in (cold_s, warm_s))
    return (
        f"{sentence}. A batch takes {before_s / after_s:.2f} times as long without it, so it has paid for itself after "
        f"{cold:,} images, or after {warm:,} with the code on disk."
    )


def _of_baseline(metric: Metric, record: "RunRecord") -> float | None:
    """Return a figure as a share of the baseline's; None if either is unknown."""
    value, baseline = metric.stored(record), metric.read_baseline(record)
    return value / baseline if value and baseline else None


def _pace(ratio: float, ends: tuple[float, float] | None) -> str:
    if ends and ends[0] <= 1 <= ends[1]:
        return "takes the same time within the measurement's interval"
    return f"is {ratio:.2f} times as fast" if ratio > 1 else f"takes {1 / ratio:.2f} times as long"


def _cause(record: "RunRecord", ratio: float, operations: float) -> str:
    """Return the first cause that the figures show; empty if they show none."""
    shares, flops, expected = record.latency.get("time_shares") or {}, record.flops, 1 / operations
    roofline = flops.get("roofline") or {}
    if shares.get("dequantization", 0) >= THRESHOLD:
        share = _percent(shares["dequantization"])
        return f"{share} of its time is spent on restoring weights, and the multiplication still runs in float"
    if flops.get("int8_ops") and roofline.get("int8_ops_per_s"):
        rate = roofline["int8_ops_per_s"] / roofline["float32_flops_per_s"]
        share = _percent(flops["int8_ops"] / FLOPS.stored(record))
        return f"{share} of its operations are int8, which this device computes {rate:.1f} times as fast as float32"
    if shares.get("routing", 0) >= THRESHOLD:
        return f"{_percent(shares['routing'])} of its time is spent on routing"
    if expected <= 1 + THRESHOLD and abs(ratio / expected - 1) > THRESHOLD:
        return _largest_change(shares, record.speedup.get("baseline_time_shares") or {}, ratio)
    expectation = f"the operation count suggests {expected:.2f} times the speed"
    if ratio > (1 + THRESHOLD) * expected:
        return f"{expectation}, and the time falls further than that"
    if ratio < (1 - THRESHOLD) * expected:
        unchanged = sum(shares.get(part, 0) for part in UNCHANGED_PARTS)
        if unchanged >= 2 * THRESHOLD:
            return f"{expectation}, but {_percent(unchanged)} of its time is spent on parts that stay unchanged"
        if roofline.get("bound") == "memory":
            return f"{expectation}, but memory traffic limits the time"
        return f"{expectation}, but its smaller matrix products run less efficiently"
    return "the time follows the operation count"


def _largest_change(shares: dict[str, float], baseline_shares: dict[str, float], ratio: float) -> str:
    """Return which part's time changed most, as a share of the baseline's time; empty if either was not profiled."""
    if not shares or not baseline_shares:
        return ""
    change = {part: shares[part] / ratio - baseline_shares[part] for part in shares if part in baseline_shares}
    part = max(change, key=lambda name: abs(change[name]))
    verb = "grows" if change[part] > 0 else "falls"
    return f"the time for {PART_NAMES[part]} {verb} most, by {_percent(abs(change[part]))} of the baseline's time"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def types_of_products(record: "RunRecord") -> str:
    """Return the shares of the number types that a run multiplies: "91 % int8, 9 % float32".

    Empty if the record does not tell them. A layer of few bits that fits no kernel multiplies in another type.
    """
    counts: dict[str, int] = record.flops.get("macs_by_type") or {}
    total = sum(counts.values())
    shares = {name: count / total for name, count in counts.items()} if total else {}
    largest_first = sorted(shares.items(), key=lambda item: -item[1])
    return ", ".join(f"{100 * share:.3g} % {name}" for name, share in largest_first)
