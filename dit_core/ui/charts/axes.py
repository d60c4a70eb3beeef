"""Metrics of records as axes of plots and rows of tables. Imports no Streamlit."""

from collections.abc import Sequence
from dataclasses import dataclass

from dit_core.records import metrics, own_metrics
from dit_core.records.metric import AxisGroup, Ends, Metric, apart
from dit_core.records.record import RunRecord
from dit_core.records.store import Stored
from dit_core.ui import format

Measured = tuple[float, Ends | None]  # a value with its interval


@dataclass(frozen=True)
class Axis:
    """One metric as an axis. If it has several measuring methods, only values of `method` are on the axis."""

    metric: Metric
    method: str = ""

    @property
    def key(self) -> str:
        """The name of the axis in keys of widgets and limits."""
        return f"{self.metric.axis_key} {self.method}".strip()

    @property
    def title(self) -> str:
        """The full title, which also names the method."""
        return self.metric.title_with(self.method)

    @property
    def short(self) -> str:
        """The title without the method."""
        return self.metric.title

    @property
    def name(self) -> str:
        """The short title as part of a sentence."""
        return self.short if self.short[:2].isupper() else self.short[0].lower() + self.short[1:]

    @property
    def unit(self) -> str:
        return self.metric.unit

    @property
    def lower_is_better(self) -> bool:
        return self.metric.better == "lower"

    @property
    def heading(self) -> str:
        """The short title with its unit."""
        return f"{self.short}, {self.unit}" if self.unit else self.short

    @property
    def label(self) -> str:
        """The heading with the direction, as plots show it."""
        direction = f"{self.metric.better} is better)"
        return f"{self.heading[:-1]}, {direction}" if self.heading.endswith(")") else f"{self.heading} ({direction}"

    def read(self, record: RunRecord) -> float | None:
        """Return the value of a record in `unit`; None if it is unknown or was measured by another method."""
        return self.metric.scaled(record) if self._has(record) else None

    def interval(self, record: RunRecord) -> Ends | None:
        """Return the ends of the error bar of a record in `unit`; None if it has none."""
        return self.metric.scaled_interval(record) if self._has(record) else None

    def text(self, value: float) -> str:
        """Return a value of this axis with its unit."""
        return format.quantity(value, self.unit)

    def best(self, values: Sequence[float]) -> float:
        """Return the best of some values."""
        return min(values) if self.lower_is_better else max(values)

    def _has(self, record: RunRecord) -> bool:
        return not self.method or self.metric.method(record) == self.method


def cost_axes(group: AxisGroup, runs: Sequence[Stored]) -> dict[str, Axis]:
    """Return the axes of a group of costs by title, without those that no run has a value for."""
    return _by_title([Axis(metric) for metric in metrics.on_axis(group)], runs)


def quality_axes(runs: Sequence[Stored]) -> dict[str, Axis]:
    """Return the axes of quality and of fidelity by title, without those that no run has a value for.

    Every measuring method is an axis of its own, because its values are not comparable with those of other methods.
    """
    by_method_field: dict[str, list[Metric]] = {}
    own = own_metrics.of(run.record for run in runs)
    for metric in (*metrics.on_axis("quality", "fidelity"), *own):
        by_method_field.setdefault(metric.method_field, []).append(metric)
    axes: list[Axis] = []
    for method_field, group in by_method_field.items():
        methods = dict.fromkeys(group[0].method(run.record) for run in runs) if method_field else {"": None}
        axes += [Axis(metric, method) for method in methods if method is not None for metric in group]
    return _by_title(axes, runs)


def all_axes(runs: Sequence[Stored]) -> dict[str, Axis]:
    """Return every metric with a direction as an axis by title, without those that no run has a value for."""
    known = cost_axes("time", runs) | cost_axes("memory", runs) | quality_axes(runs)
    on_axes = {axis.metric for axis in known.values()}
    others = [Axis(metric) for metric in metrics.METRICS if metric.better and metric not in on_axes]
    return known | _by_title([axis for axis in others if not axis.metric.method_field], runs)


def differs(metric: Metric, measured: Measured, other: Measured) -> bool:
    """Return whether two values differ by more than their intervals.

    A cost without an interval is exact. A quality metric without an interval never differs, because its uncertainty is
    unknown.
    """
    if metric.axis in ("quality", "fidelity"):
        return apart(measured[1], other[1])
    ends, other_ends = (interval or (value, value) for value, interval in (measured, other))
    return apart(ends, other_ends)


def _by_title(axes: Sequence[Axis], runs: Sequence[Stored]) -> dict[str, Axis]:
    return {axis.title: axis for axis in axes if any(axis.read(run.record) is not None for run in runs)}
