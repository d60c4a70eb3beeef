"""The Pareto front of points on two axes, and its hypervolume relative to the baseline. Imports no Streamlit."""

from collections.abc import Sequence

from dit_core.records import pareto
from dit_core.records.store import Stored
from dit_core.ui.charts.axes import Axis
from dit_core.ui.comparisons import point_id


def front(points: Sequence[tuple[float, float]], x: Axis, y: Axis) -> list[int]:
    """Return the indices of the points that no other point beats, the best on x first. Equal points are all kept."""
    sign_x, sign_y = (1 if axis.lower_is_better else -1 for axis in (x, y))
    return pareto.front([(sign_x * point_x, sign_y * point_y) for point_x, point_y in points])


def shares(runs: Sequence[Stored], x: Axis, y: Axis) -> dict[str, float]:
    """Return the share of draws in which each run is on the front, by point id, if figures vary in their intervals.

    Runs without both values are left out.
    """
    known = with_both_values(runs, x, y)
    costs, intervals = [], []
    for run in known:
        values = [(axis, axis.read(run.record) or 0.0) for axis in (x, y)]
        ends = [axis.interval(run.record) or (value, value) for axis, value in values]
        costs.append([value if axis.lower_is_better else -value for axis, value in values])
        intervals.append(
            [end if axis.lower_is_better else (-end[1], -end[0]) for (axis, _), end in zip(values, ends, strict=True)]
        )
    return dict(zip(map(point_id, known), pareto.membership(costs, intervals), strict=True))


def front_runs(runs: Sequence[Stored], x: Axis, y: Axis) -> list[Stored]:
    """Return the runs on the front, the best on x first."""
    known = with_both_values(runs, x, y)
    values = [(x.read(run.record) or 0.0, y.read(run.record) or 0.0) for run in known]
    return [known[i] for i in front(values, x, y)]


def with_both_values(runs: Sequence[Stored], x: Axis, y: Axis) -> list[Stored]:
    """Return the runs that have a value on both axes."""
    return [run for run in runs if x.read(run.record) is not None and y.read(run.record) is not None]


def hypervolume(runs: Sequence[Stored], baseline: Stored, x: Axis, y: Axis) -> tuple[float, tuple[float, float]] | None:
    """Return the hypervolume of runs and its reference point; the baseline's own hypervolume is 1.

    The reference point is at twice the baseline's value on an axis where lower is better, and at 0 on an axis where
    higher is better. None if the baseline lacks a value.
    """
    baseline_x, baseline_y = x.read(baseline.record) or 0, y.read(baseline.record) or 0
    if baseline_x <= 0 or baseline_y <= 0:
        return None
    values = [(x.read(run.record), y.read(run.record)) for run in runs]
    costs = [
        (_relative_cost(x, value_x, baseline_x), _relative_cost(y, value_y, baseline_y))
        for value_x, value_y in values
        if value_x is not None and value_y is not None
    ]
    reference = (_reference(x, baseline_x), _reference(y, baseline_y))
    return pareto.hypervolume(costs, (pareto.REFERENCE, pareto.REFERENCE)), reference


def _relative_cost(axis: Axis, value: float, baseline: float) -> float:
    """Return a value relative to the baseline such that lower is better and the baseline is 1."""
    ratio = value / baseline
    return ratio if axis.lower_is_better else pareto.REFERENCE - ratio


def _reference(axis: Axis, baseline: float) -> float:
    return pareto.REFERENCE * baseline if axis.lower_is_better else 0.0
