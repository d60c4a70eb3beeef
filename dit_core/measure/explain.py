"""One sentence, computed from the figures, on the gap between work saved and time saved. Imports no torch."""

from typing import Any

PLAIN = {
    "attention": "attention",
    "ffn": "the feed-forward networks",
    "modulation": "norms and modulation",
    "embedding": "embedders and the final layer",
    "dequantization": "restoring weights from their stored form",
    "routing": "routing",
    "sampler": "the sampler",
    "vae": "the decoder",
}
OUTSIDE = ("modulation", "embedding", "sampler", "vae")  # what no technique on attention or feed-forward layers shrinks
NOTICED = 0.05  # a share or a gap below this is not named


def explain(latency: dict, memory: dict, flops: dict, speedup: dict) -> str:
    """From a record's sections; empty where the figures do not tell."""
    shares = latency.get("time_shares")
    if speedup["ratio"] is None:
        return _baseline(shares, flops.get("roofline")) if speedup.get("reason") == "this run is the baseline" else ""
    if not flops["flops"] or not flops["baseline_flops"]:
        return ""
    kept = _percent(flops["flops"] / flops["baseline_flops"])
    bytes_kept = _percent(memory["weight_bytes"] / memory["baseline_weight_bytes"])
    because = _cause(shares or {}, speedup.get("baseline_time_shares") or {}, flops, speedup)
    what = f"It does {kept} of the baseline's operations with {bytes_kept} of its weight bytes and {_pace(speedup)}"
    return f"{what}{f': {because}' if because else ''}."


def _baseline(shares: dict[str, float] | None, roof: dict[str, Any] | None) -> str:
    if not shares:
        return ""
    largest = max(shares, key=lambda part: shares[part])
    told = f"{_percent(shares[largest])} of the time goes into {PLAIN[largest]}"
    if not roof:
        return f"{told}."
    limit = "arithmetic" if roof["bound"] == "compute" else "moving bytes"
    return f"{told}; by this device's peaks {limit} is what bounds it, at {roof['attainable_s']:.2g} s a call."


def _pace(speedup: dict[str, Any]) -> str:
    if speedup["low"] <= 1 <= speedup["high"]:
        return "takes the same time, as far as can be told"
    ratio = speedup["ratio"]
    return f"is {ratio:.2f} times as fast" if ratio > 1 else f"takes {1 / ratio:.2f} times as long"


def _cause(shares: dict[str, float], base: dict[str, float], flops: dict, speedup: dict) -> str:
    """The first of the reasons that the figures show."""
    promised, ratio = flops["baseline_flops"] / flops["flops"], speedup["ratio"]
    roof = flops.get("roofline") or {}
    if shares.get("dequantization", 0) >= NOTICED:
        share = _percent(shares["dequantization"])
        return f"{share} of its time goes into {PLAIN['dequantization']}, and the products stay in float"
    if flops.get("int8_ops") and roof.get("int8_ops_per_s"):
        faster = roof["int8_ops_per_s"] / roof["float32_flops_per_s"]
        part = _percent(flops["int8_ops"] / flops["flops"])
        return f"{part} of them are int8, which this device multiplies {faster:.1f} times as fast as float32"
    if shares.get("routing", 0) >= NOTICED:
        return f"{_percent(shares['routing'])} of its time goes into {PLAIN['routing']}"
    if promised <= 1 + NOTICED and abs(ratio / promised - 1) > NOTICED:
        return _grown(shares, base, ratio)
    if ratio > (1 + NOTICED) * promised:
        return f"time falls more than the work, which promises {promised:.2f}"
    if ratio < (1 - NOTICED) * promised:
        outside = sum(shares.get(part, 0) for part in OUTSIDE)
        if outside >= 2 * NOTICED:
            return (
                f"the work promises {promised:.2f}, but {_percent(outside)} of its time goes into what stays as it was"
            )
        if roof.get("bound") == "memory":
            return f"the work promises {promised:.2f}, but moving bytes is what bounds it"
        return f"the work promises {promised:.2f}, and its smaller products run less efficiently"
    return "time follows the work"


def _grown(shares: dict[str, float], base: dict[str, float], ratio: float) -> str:
    """The part whose time changed most, in the baseline's time, where the work did not change."""
    if not shares or not base:
        return ""
    change = {part: shares[part] / ratio - base[part] for part in shares if part in base}
    part = max(change, key=lambda name: abs(change[name]))
    grows = "grows" if change[part] > 0 else "falls"
    return f"the time of {PLAIN[part]} {grows} most, by {_percent(abs(change[part]))} of the baseline's whole"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
