"""Values in one record that cannot all be true, found from the record itself. Imports no torch."""

import math
import re
import statistics
from collections.abc import Iterator
from itertools import chain
from typing import Any

from dit_core.errors import BadRequest
from dit_core.experiment.known import is_current
from dit_core.recipes.recipe import Recipe
from dit_core.records import metrics, own_metrics
from dit_core.records.paired import missing_replicates
from dit_core.records.record import RunRecord
from dit_core.records.spec import RunSpec

ROUNDED = 1e-4  # relative; raw times are stored in microseconds


def inconsistencies(record: RunRecord) -> Iterator[str]:
    """Yield one short message for each value that contradicts another value, the spec or the current weights."""
    spec = RunSpec.from_dict(record.spec)
    yield from chain(
        _origin(record, spec),
        _times(record, spec),
        _work(record, spec),
        _quality(record, spec),
        _intervals(record),
        _samples(record),
    )


def _origin(record: RunRecord, spec: RunSpec) -> Iterator[str]:
    if record.status != "done":
        yield f"its status is {record.status!r}"
    if not is_current(record):
        yield f"it was measured with other weights than {spec.model} has now"
    try:
        Recipe.of(spec)
    except BadRequest as error:
        yield f"its recipe is invalid: {error}"
    if record.environment["device"] != spec.device:
        yield f"it ran on {record.environment['device']} but its spec asks for {spec.device}"


def _times(record: RunRecord, spec: RunSpec) -> Iterator[str]:
    latency, speedup = record.latency, record.speedup
    raw, latency_s, ratio = latency["raw_s"] or [], metrics.LATENCY.read(record), metrics.SPEEDUP.stored(record)
    baseline_s, throughput = metrics.LATENCY.read_baseline(record) or 0, metrics.THROUGHPUT.read(record) or 0
    if raw and len(raw) != latency["calls"]:
        yield f"it has {len(raw)} raw times but {latency['calls']} calls"
    if raw and latency_s and not _near(statistics.median(raw), latency_s):
        yield "its latency is not the median of its raw times"
    if len(raw) > 1:
        low, _, high = statistics.quantiles(raw, n=4)
        quartiles = ((latency.get("latency_p25_s"), low), (latency.get("latency_p75_s"), high))
        if any(stored is not None and not _near(stored, computed) for stored, computed in quartiles):
            yield "its quartiles are not those of its raw times"
    if latency_s and not _near(latency["batch_size"] / latency_s, throughput):
        yield "its throughput is not its batch size divided by its latency"
    if latency["batch_size"] != spec.batch_size:
        yield "its timed batch size is not that of its spec"
    if ratio and latency_s and not _near(baseline_s / latency_s, ratio):
        yield "its speed-up is not the ratio of its latencies"
    if (baseline_raw := speedup.get("baseline_raw_s")) and not _near(statistics.median(baseline_raw), baseline_s):
        yield "its baseline's latency is not the median of its raw times"
    if not spec.techniques and ratio is not None:
        yield "it is a baseline but has a speed-up"
    for shares in (latency.get("time_shares"), speedup.get("baseline_time_shares")):
        if shares and not _near(sum(shares.values()), 1.0):
            yield "its shares of time do not add up to one"


def _work(record: RunRecord, spec: RunSpec) -> Iterator[str]:
    for metric, macs in (
        (metrics.FLOPS, metrics.MACS),
        (metrics.FLOPS.of_baseline(), metrics.MACS.of_baseline()),
    ):
        operations = metric.read(record) if metric else None
        if metric and macs and operations is not None and macs.read(record) != operations // 2:
            yield f"its {metric.name} are not twice its {macs.name}"
    if not spec.techniques and any(
        metric.read(record) != metric.read_baseline(record) for metric in (metrics.FLOPS, metrics.WEIGHT_BYTES)
    ):
        yield "it is a baseline but its operations or weights differ from its baseline's"
    flops, moved = metrics.FLOPS.read(record), record.flops.get("moved_bytes")
    intensity = record.flops.get("arithmetic_intensity_flop_per_byte")
    if intensity is not None and flops is not None and moved and not _near(flops / moved, intensity):
        yield "its arithmetic intensity is not its operations divided by its moved bytes"
    if (routing := record.flops.get("routing")) and not _balanced(routing):
        yield "its balance is not that of its tokens"


def _balanced(routing: dict[str, Any]) -> bool:
    """Return whether the balance of every layer and bucket is the mean load divided by the largest."""
    for loads, stored in zip(chain(*routing.get("tokens", ())), chain(*routing.get("balance", ())), strict=False):
        balance = statistics.fmean(loads) / max(loads) if any(loads) else None
        if stored is None or balance is None:
            if stored is not balance:
                return False
        elif not _near(balance, stored):
            return False
    return True


def _quality(record: RunRecord, spec: RunSpec) -> Iterator[str]:
    metric, count = metrics.PRIMARY_QUALITY, metrics.JUDGED_IMAGES.read(record)
    if metric.read(record) is not None and count != spec.samples:
        yield f"it evaluated {count} images but its spec asks for {spec.samples}"
    if (replicates := record.quality.get("replicates")) not in (None, spec.replicates):
        yield f"it evaluated {replicates} sets of images but its spec asks for {spec.replicates}"
    elif missing := missing_replicates(record):
        yield f"its quality is not tested: {missing}"
    named = re.search(r"(\d+) images", metric.method(record) or "")
    if named and int(named[1]) != count:
        yield f"its metric is named for {named[1]} images but it evaluated {count}"
    accuracy, by_class = metrics.CLASS_ACCURACY.read(record), metrics.CLASS_ACCURACY_BY_CLASS.stored(record)
    averaged = accuracy is not None and by_class and spec.replicates == 1
    if averaged and not _near(statistics.fmean(by_class.values()), accuracy or 0.0):
        yield "its class accuracy is not the mean over its classes"


def _intervals(record: RunRecord) -> Iterator[str]:
    for metric in (*metrics.METRICS, *own_metrics.of([record])):
        value, ends = metric.read(record), metric.interval(record)
        # Only recorded values: the interval of a derived one follows from theirs.
        if not metric.recorded or value is None or not ends:
            continue
        if not ends[0] <= value <= ends[1] and not any(_near(value, end) for end in ends):  # equal values round
            yield f"{metric.path} is outside its own interval"


def _samples(record: RunRecord) -> Iterator[str]:
    labels, seeds = record.samples["labels"] or (), record.samples["seeds"] or ()
    if len(labels) != len(seeds):
        yield "its sample sheet does not have one seed for each label"
    if (indices := record.samples.get("indices")) and len(indices) != len(labels):
        yield "its sample sheet does not have one index for each label"


def _near(a: float, b: float) -> bool:
    return math.isclose(a, b, rel_tol=ROUNDED)
