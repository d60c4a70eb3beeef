"""Recipes worth a first look among many runs. Imports no Streamlit."""

import math
from collections.abc import Sequence

from dit_core.recipes.recipe import canonical
from dit_core.records import metrics
from dit_core.records.paired import paired
from dit_core.records.record import RunRecord
from dit_core.records.store import Stored
from dit_core.ui import format
from dit_core.ui.charts.axes import Axis
from dit_core.ui.charts.front import front_runs
from dit_core.ui.comparisons import judged_alike, spec_of

CHEAPER = 1.3  # times as fast: a smaller step is not worth a second picture
INT4 = ({"name": "quantization", "bits": 4},)
NO_DIFFERENCE, BETTER = "no difference in quality found", "and closer to real images"
COSTS = (Axis(metrics.PRIMARY_COST), Axis(metrics.WEIGHT_BYTES))


def highlights(runs: Sequence[Stored], quality: Axis, limit: int) -> list[Stored]:
    """Return at most `limit` recipes from the fronts of time and of weights, the best quality first.

    The middle recipe of each family is taken before the other recipes.
    """
    by_family: dict[str, list[Stored]] = {}
    for cost in COSTS:
        for run in front_runs(runs, cost, quality):
            family = by_family.setdefault(format.family(spec_of(run)), [])
            if spec_of(run).techniques and run not in family:
                family.append(run)

    def badness(run: Stored) -> float:
        return (1 if quality.lower_is_better else -1) * (quality.read(run.record) or 0)

    for family in by_family.values():
        family.sort(key=badness)
    middles = [family[len(family) // 2] for family in by_family.values() if family]
    others = [run for family in by_family.values() for run in family if run not in middles]
    return sorted([*middles, *others][:limit], key=badness)


def fastest_as_good(runs: Sequence[Stored]) -> Stored | None:
    """Return the fastest run that is faster than the baseline and whose quality is not found to be worse.

    `runs` are from one environment and one workload. The whole interval of the speed-up must be above 1. None if the
    baseline is missing or no run qualifies.
    """
    baseline = next((run for run in runs if not spec_of(run).techniques), None)
    if baseline is None:
        return None
    as_good = [run for run in runs if _is_faster(run.record) and quality_found(run.record, baseline.record)]
    return max(as_good, key=lambda run: metrics.SPEEDUP.read(run.record) or 0.0, default=None)


def quality_found(record: RunRecord, baseline: RunRecord) -> str:
    """Return what was found of a run's quality, as words for a heading; empty if it is worse or unknown.

    The record's pairs decide. Without pairs, a quality inside the baseline's interval counts as no difference, which is
    stricter than two intervals that overlap.
    """
    if pair := paired(record):
        return {"better": BETTER, "no difference detected": NO_DIFFERENCE}.get(pair.verdict, "")
    value, interval = metrics.PRIMARY_QUALITY.read(record), metrics.PRIMARY_QUALITY.interval(baseline)
    if value is None or interval is None or not judged_alike(record, baseline):
        return ""
    return NO_DIFFERENCE if interval[0] <= value <= interval[1] else ""


def cheaper(runs: Sequence[Stored], run: Stored, quality: Axis) -> Stored | None:
    """Return the run with the best quality among those that are at least CHEAPER times as fast as `run`."""
    speed = metrics.SPEEDUP.read(run.record) or 1.0
    faster = [
        other
        for other in front_runs(runs, COSTS[0], quality)
        if (metrics.SPEEDUP.read(other.record) or 0.0) >= CHEAPER * speed
    ]
    order = min if quality.lower_is_better else max
    return order(faster, key=lambda other: quality.read(other.record) or 0.0, default=None)


def first_look(runs: Sequence[Stored], quality: Axis, limit: int) -> list[Stored]:
    """Return `highlights` with int4 first, which is the technique that most people know."""
    int4 = [run for run in runs if is_int4(run)][:1]
    return [*int4, *(run for run in highlights(runs, quality, limit) if run not in int4)][:limit]


def is_int4(run: Stored) -> bool:
    """Return whether a run stores its weights in 4 bits and uses no other technique."""
    return spec_of(run).techniques == canonical(INT4)


def _is_faster(record: RunRecord) -> bool:
    interval = metrics.SPEEDUP.interval(record)
    return bool(record.spec["techniques"] and interval and interval[0] > 1)


def combined_cost(record: RunRecord) -> float:
    """Return the product of time, weights and distance, to choose one run without limits. Skips unknown values."""
    values = (metric.read(record) for metric in (metrics.PRIMARY_COST, metrics.WEIGHT_BYTES, metrics.PRIMARY_QUALITY))
    return math.prod(value for value in values if value)
