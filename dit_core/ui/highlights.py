"""Recipes worth a first look among many runs. Imports no Streamlit."""

import math
from collections.abc import Sequence

from dit_core.recipes.recipe import canonical
from dit_core.records import metrics
from dit_core.records.record import RunRecord
from dit_core.records.store import Stored
from dit_core.ui import format
from dit_core.ui.charts.axes import Axis
from dit_core.ui.charts.front import front_runs
from dit_core.ui.comparisons import spec_of

INT4 = ({"name": "quantization", "bits": 4},)
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


def first_look(runs: Sequence[Stored], quality: Axis, limit: int) -> list[Stored]:
    """Return `highlights` with int4 first, which is the technique that most people know."""
    int4 = [run for run in runs if is_int4(run)][:1]
    return [*int4, *(run for run in highlights(runs, quality, limit) if run not in int4)][:limit]


def is_int4(run: Stored) -> bool:
    """Return whether a run stores its weights in 4 bits and uses no other technique."""
    return spec_of(run).techniques == canonical(INT4)


def combined_cost(record: RunRecord) -> float:
    """Return the product of time, weights and distance, to choose one run without limits. Skips unknown values."""
    values = (metric.read(record) for metric in (metrics.PRIMARY_COST, metrics.WEIGHT_BYTES, metrics.PRIMARY_QUALITY))
    return math.prod(value for value in values if value)
