"""Pareto fronts and the volume that they cover, for costs in any number of dimensions: less is better in each."""

from collections.abc import Sequence
from itertools import pairwise

Costs = Sequence[float]
REFERENCE = 2.0  # times the baseline's cost: a recipe beyond it covers nothing


def front(costs: Sequence[Costs]) -> list[int]:
    """Indices of those that no other beats, the best in the first cost before the others. Equal ones stay together."""
    kept: list[int] = []
    for i in sorted(range(len(costs)), key=lambda i: tuple(costs[i])):
        # Whatever beats it comes before it in this order; of two costs the last one kept does if any does.
        if not any(_beats(costs[j], costs[i]) for j in reversed(kept)):
            kept.append(i)
    return kept


def hypervolume(costs: Sequence[Costs], reference: Costs) -> float:
    """The volume of all that some of these costs beat and that beats the reference: exact, slice by slice."""
    leading = (costs[i] for i in front(costs))
    inside = [cost for cost in leading if all(own < far for own, far in zip(cost, reference, strict=True))]
    if not inside or len(reference) == 1:
        return max((reference[0] - cost[0] for cost in inside), default=0.0)
    levels = [*sorted({cost[-1] for cost in inside}), reference[-1]]
    return sum(
        (high - low) * hypervolume([cost[:-1] for cost in inside if cost[-1] <= low], reference[:-1])
        for low, high in pairwise(levels)
    )


def coverage(costs: Sequence[Costs], baseline: Costs) -> float:
    """Hypervolume with each cost in the baseline's and twice the baseline as reference: the baseline alone covers 1.

    The reference is the same for all runs of a workload that are judged alike, so coverages can be compared.
    """
    shares = [[own / base for own, base in zip(cost, baseline, strict=True)] for cost in costs]
    return hypervolume(shares, [REFERENCE] * len(baseline))


def _beats(one: Costs, other: Costs) -> bool:
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))
