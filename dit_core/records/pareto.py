"""Pareto fronts and their hypervolume, for costs in any number of dimensions. Lower is better in each dimension."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from dit_core.records.metric import Z95

Costs = Sequence[float]
DRAWS = 500  # of all figures from their intervals; a share of draws then has a standard error of at most 2.3 %
REFERENCE = 2.0  # times the baseline's cost: a recipe beyond it adds no volume


def front(costs: Sequence[Costs]) -> list[int]:
    """Return the indices of costs that no other cost dominates, sorted by the first dimension. Equal costs all stay."""
    kept: list[int] = []
    for i in sorted(range(len(costs)), key=lambda i: tuple(costs[i])):
        # A dominating cost comes earlier in this order, most likely shortly before.
        if not any(_dominates(costs[j], costs[i]) for j in reversed(kept)):
            kept.append(i)
    return kept


def membership(
    costs: Sequence[Costs], intervals: Sequence[Sequence[tuple[float, float]]], seed: int = 0
) -> list[float]:
    """Return for each cost (x, y) the share of draws in which it is on the front of all.

    `intervals` are the 95 % intervals of x and y of each cost. A draw takes every figure independently from a normal
    law on either side of its value; a figure with an empty interval is exact.
    """
    if not costs:
        return []
    values, ends = np.array(costs, float), np.array(intervals, float)  # (N, 2), (N, 2, 2)
    below, above = (np.maximum(0, side) / Z95 for side in (values - ends[..., 0], ends[..., 1] - values))
    noise = np.random.default_rng(seed).standard_normal((DRAWS, *values.shape))
    x, y = np.moveaxis(values + noise * np.where(noise < 0, below, above), -1, 0)  # (DRAWS, N)
    order = np.lexsort((y, x), axis=-1)
    x, y = np.take_along_axis(x, order, -1), np.take_along_axis(y, order, -1)
    lowest = np.minimum.accumulate(y, -1)[:, :-1]  # of all that come earlier, so are not worse on x
    is_new = np.diff(lowest, axis=-1, prepend=np.inf) < 0
    first = np.maximum.accumulate(np.where(is_new, np.arange(y.shape[1] - 1), 0), -1)  # where the lowest comes from
    dominated = lowest < y[:, 1:]
    dominated |= (lowest == y[:, 1:]) & (np.take_along_axis(x, first, -1) < x[:, 1:])
    on_front = np.ones(x.shape, bool)
    np.put_along_axis(on_front, order[:, 1:], ~dominated, -1)
    return on_front.mean(0).tolist()


def hypervolume(costs: Sequence[Costs], reference: Costs) -> float:
    """Return the exact volume between these costs and the reference, summed over slices of the last dimension."""
    candidates = (costs[i] for i in front(costs))
    inside = [cost for cost in candidates if all(own < end for own, end in zip(cost, reference, strict=True))]
    if not inside or len(reference) == 1:
        return max((reference[0] - cost[0] for cost in inside), default=0.0)
    levels = [*sorted({cost[-1] for cost in inside}), reference[-1]]
    return sum(
        (high - low) * hypervolume([cost[:-1] for cost in inside if cost[-1] <= low], reference[:-1])
        for low, high in pairwise(levels)
    )


def coverage(costs: Sequence[Costs], baseline: Costs) -> float:
    """Return the hypervolume of costs divided by the baseline's, with REFERENCE in each dimension as reference.

    The baseline alone gives 1. Runs of one workload and quality method have the same reference, so their values are
    comparable.
    """
    shares = [[own / base for own, base in zip(cost, baseline, strict=True)] for cost in costs]
    return hypervolume(shares, [REFERENCE] * len(baseline))


def _dominates(cost: Costs, other: Costs) -> bool:
    return cost != other and all(a <= b for a, b in zip(cost, other, strict=True))
