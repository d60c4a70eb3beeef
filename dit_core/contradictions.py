"""What a record says that cannot be so, told from the record alone. Imports no torch."""

import math
import re
import statistics
from collections.abc import Iterator
from itertools import chain
from typing import Any

from dit_core import techniques
from dit_core.errors import BadRequest
from dit_core.spec import RunRecord, RunSpec
from dit_core.store import is_current

ROUNDED = 1e-4  # relative; raw times are stored in microseconds


def contradictions(record: RunRecord) -> Iterator[str]:
    """Figures that contradict each other, the spec or the weights that are there now, each in a few words."""
    spec = RunSpec.from_dict(record.spec)
    yield from chain(
        _origin(record, spec),
        _times(record, spec),
        _work(record, spec),
        _quality(record, spec),
        _outside(record),
        _samples(record),
    )


def _origin(record: RunRecord, spec: RunSpec) -> Iterator[str]:
    if record.status != "done":
        yield f"its status is {record.status!r}"
    if not is_current(record):
        yield f"it was made with other weights than {spec.model} has now"
    try:
        techniques.canonical(spec.techniques)
    except BadRequest as error:
        yield f"its recipe is refused: {error}"
    if record.environment["device"] != spec.device:
        yield f"it ran on {record.environment['device']} and its spec asks for {spec.device}"


def _times(record: RunRecord, spec: RunSpec) -> Iterator[str]:
    latency, speedup = record.latency, record.speedup
    raw, latency_s = latency["raw_s"] or [], latency["latency_s"]
    if raw and len(raw) != latency["calls"]:
        yield f"it has {len(raw)} raw times of {latency['calls']} calls"
    if raw and latency_s and not _near(statistics.median(raw), latency_s):
        yield "its latency is not the median of its raw times"
    if len(raw) > 1:
        low, _, high = statistics.quantiles(raw, n=4)
        ends = ((latency.get("latency_p25_s"), low), (latency.get("latency_p75_s"), high))
        if any(told is not None and not _near(told, end) for told, end in ends):
            yield "its quartiles are not those of its raw times"
    if latency_s and not _near(latency["batch_size"] / latency_s, latency["throughput_images_per_s"] or 0):
        yield "its throughput is not its batch over its latency"
    if latency["batch_size"] != spec.batch_size:
        yield "it timed another batch than its spec says"
    if speedup["ratio"] and latency_s and not _near(speedup["baseline_latency_s"] / latency_s, speedup["ratio"]):
        yield "its speed-up is not the ratio of its latencies"
    if (beside := speedup.get("baseline_raw_s")) and not _near(
        statistics.median(beside), speedup["baseline_latency_s"] or 0
    ):
        yield "its baseline's latency is not the median of its raw times"
    if not spec.techniques and speedup["ratio"] is not None:
        yield "a baseline has no speed-up over itself"
    for shares in (latency.get("time_shares"), speedup.get("baseline_time_shares")):
        if shares and not _near(sum(shares.values()), 1.0):
            yield "its shares of time do not add up to one"


def _work(record: RunRecord, spec: RunSpec) -> Iterator[str]:
    flops, memory = record.flops, record.memory
    for side in ("", "baseline_"):
        operations = flops[f"{side}flops"]
        if operations is not None and flops[f"{side}macs"] != operations // 2:
            yield f"its {side}flops are not twice its {side}macs"
    pairs = [
        (section[name], section[f"baseline_{name}"]) for section, name in ((flops, "flops"), (memory, "weight_bytes"))
    ]
    if not spec.techniques and any(own != beside for own, beside in pairs):
        yield "a baseline has other work or weights than itself"
    intensity, moved = flops.get("arithmetic_intensity_flop_per_byte"), flops.get("moved_bytes")
    if intensity is not None and moved and not _near(flops["flops"] / moved, intensity):
        yield "its arithmetic intensity is not its operations over the bytes that it moves"
    if (routing := flops.get("routing")) and not _balanced(routing):
        yield "its balance is not that of its tokens"


def _balanced(routing: dict[str, Any]) -> bool:
    """Whether the balance of every layer and bucket is the mean load over the largest."""
    for loads, told in zip(chain(*routing.get("tokens", ())), chain(*routing.get("balance", ())), strict=False):
        balance = statistics.fmean(loads) / max(loads) if any(loads) else None
        if told is None or balance is None:
            if told is not balance:
                return False
        elif not _near(balance, told):
            return False
    return True


def _quality(record: RunRecord, spec: RunSpec) -> Iterator[str]:
    quality = record.quality
    if quality["distance"] is not None and quality["count"] != spec.samples:
        yield f"it judged {quality['count']} images and its spec asks for {spec.samples}"
    if quality.get("replicates") not in (None, spec.replicates):
        yield f"it judged {quality['replicates']} sets of images and its spec asks for {spec.replicates}"
    named = re.search(r"(\d+) images", quality["metric"] or "")
    if named and int(named[1]) != quality["count"]:
        yield f"its metric is named for {named[1]} images and it judged {quality['count']}"
    judged, shares = quality.get("class_accuracy"), quality.get("class_accuracy_by_class")
    if judged is not None and shares and spec.replicates == 1 and not _near(statistics.fmean(shares.values()), judged):
        yield "its class accuracy is not the mean over its classes"


def _outside(record: RunRecord) -> Iterator[str]:
    """Figures that lie outside their own intervals."""
    quality, speedup = record.quality, record.speedup
    told = {
        "distance": (quality["distance"], quality.get("low"), quality.get("high")),
        "speed-up": (speedup["ratio"], speedup["low"], speedup["high"]),
    }
    for section in (quality, record.fidelity):
        ends = section.get("intervals") or {}
        told |= {name: (section.get(name), low, high) for name, (low, high) in ends.items()}
    for name, (value, low, high) in told.items():
        if None not in (value, low, high) and not low <= value <= high:
            yield f"its {name} lies outside its own interval"


def _samples(record: RunRecord) -> Iterator[str]:
    labels, seeds = record.samples["labels"] or (), record.samples["seeds"] or ()
    if len(labels) != len(seeds):
        yield "its sheet has not one seed for each label"
    if (indices := record.samples.get("indices")) and len(indices) != len(labels):
        yield "its sheet has not one index for each label"


def _near(a: float, b: float) -> bool:
    return math.isclose(a, b, rel_tol=ROUNDED)
