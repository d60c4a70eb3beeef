"""Runs as points of one plot: which have both values, which are on the front, which are drawn. Imports no Streamlit."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from dit_core.records.metric import Ends
from dit_core.records.record import RunRecord
from dit_core.records.store import Stored
from dit_core.ui import comparisons, format
from dit_core.ui.charts.axes import Axis
from dit_core.ui.charts.front import front, shares, with_both_values
from dit_core.ui.charts.references import References
from dit_core.ui.comparisons import point_id

LIKELY, POSSIBLE = 0.5, 0.05  # shares of draws from which on a point of the front is drawn solid, and faint
MAX_POINTS = 200  # of more points, only the nearest to the front are drawn


@dataclass(frozen=True)
class PlotPoint:
    """A run on one plot. `interval_x` and `interval_y` are its error bars; `leading` if it is on the Pareto front.

    `share` is the share of draws in which it is on the front when all figures vary in their intervals.
    """

    id: str
    record: RunRecord
    origin: str
    family: str
    title: str
    short: str
    x: float
    y: float
    interval_x: Ends
    interval_y: Ends
    leading: bool
    share: float = 1.0
    notes: tuple[str, ...] = ()  # what the references say about the run
    not_retrained: bool = False  # removed a part of the network without training afterwards
    fewer_steps: bool = False  # on the line of the unchanged network with fewer steps

    @property
    def membership(self) -> str:
        """How the point is drawn: `solid` if it is likely on the front, `faint` if possibly, else `none`."""
        return "solid" if self.share >= LIKELY else "faint" if self.share >= POSSIBLE else "none"


def points_of(runs: Sequence[Stored], x: Axis, y: Axis) -> list[PlotPoint]:
    """Return the runs that have a value on both axes as points."""
    drawn = with_both_values(runs, x, y)
    values = [(x.read(run.record) or 0.0, y.read(run.record) or 0.0) for run in drawn]
    specs = [comparisons.spec_of(run) for run in drawn]
    leading, references = set(front(values, x, y)), References.of(drawn, x, y)
    on_front = shares(drawn, x, y)
    return [
        PlotPoint(
            id=point_id(run),
            record=run.record,
            origin=run.origin,
            family=format.family(spec),
            title=format.title(spec),
            short=short,
            x=value_x,
            y=value_y,
            interval_x=x.interval(run.record) or (value_x, value_x),
            interval_y=y.interval(run.record) or (value_y, value_y),
            leading=i in leading,
            share=on_front[point_id(run)],
            notes=references.notes(run),
            not_retrained=format.training(spec) == format.NOT_RETRAINED,
            fewer_steps=run in references.line,
        )
        for i, (run, (value_x, value_y), spec, short) in enumerate(
            zip(drawn, values, specs, format.brief_titles(specs), strict=True)
        )
    ]


def nearest_to_front(
    points: Sequence[PlotPoint], x: Axis, y: Axis, marked: Collection[str | None] = (), limit: int = MAX_POINTS
) -> list[PlotPoint]:
    """Return the marked points, the points of the front, then of the front behind it, until there are `limit`."""
    kept: set[int] = {i for i, point in enumerate(points) if point.id in marked}
    rest = list(range(len(points)))
    while rest and len(kept) < limit:
        layer = {rest[i] for i in front([(points[j].x, points[j].y) for j in rest], x, y)}
        kept |= layer
        rest = [i for i in rest if i not in layer]
    return [points[i] for i in sorted(kept)]


def description(points: Sequence[PlotPoint], x: Axis, y: Axis) -> str:
    """Return the plot's alternative text: its axes, the number of runs and the points of the front."""
    leading = sorted((point for point in points if point.leading), key=lambda point: point.x)
    front_values = "; ".join(f"{point.title}: {x.text(point.x)}, {y.text(point.y)}" for point in leading)
    return (
        f"{y.title} against {x.title.lower()}: {len(points)} runs, {len(leading)} on the Pareto front. {front_values}."
    )


def front_names(points: Sequence[PlotPoint], x: Axis) -> str:
    """Return the names of the front's points with their values on `x`, the best first, as a sentence."""
    leading = sorted((point for point in points if point.leading), key=lambda point: point.x)
    ordered = leading if x.lower_is_better else leading[::-1]
    names = "; ".join(f"{point.short} ({format.significant(point.x)}; {100 * point.share:.0f} %)" for point in ordered)
    unit = f" in {x.unit}" if x.unit else ""
    return f"On the front, {x.name}{unit} and share of draws from the intervals in which a run is on it: {names}."
