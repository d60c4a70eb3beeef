"""Many metrics of many runs as parallel axes, as a plain Plotly figure. Imports no Streamlit.

Every run is a line over the axes. All axes point up towards the better value.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dit_core.records.store import Stored
from dit_core.ui import format
from dit_core.ui.charts.axes import Axis
from dit_core.ui.charts.pareto_plot import LEGEND
from dit_core.ui.comparisons import point_id, spec_of
from dit_core.ui.style import DIM, LINE, RING, style

LETTERS = 18  # of a line of an axis title


@dataclass(frozen=True)
class Line:
    """A run with its values on the axes, and the hover text of each of its points."""

    id: str
    family: str
    values: tuple[float, ...]
    texts: tuple[str, ...]
    leading: bool


def lines_of(runs: Sequence[Stored], axes: Sequence[Axis]) -> list[Line]:
    """Return the runs that have a value on every axis. Runs that no other run beats on all axes are leading."""
    known = [run for run in runs if all(axis.read(run.record) is not None for axis in axes)]
    rows = [tuple(axis.read(run.record) or 0.0 for axis in axes) for run in known]
    costs = [[value if axis.lower_is_better else -value for axis, value in zip(axes, row, strict=True)] for row in rows]
    specs = [spec_of(run) for run in known]
    return [
        Line(
            id=point_id(run),
            family=format.family(spec),
            values=row,
            texts=tuple(f"<b>{title}</b><br>{axis.title}: {axis.text(v)}" for axis, v in zip(axes, row, strict=True)),
            leading=not any(_beats(other, own) for other in costs),
        )
        for run, spec, row, own, title in zip(known, specs, rows, costs, map(format.title, specs), strict=True)
    ]


def parallel_figure(lines: Sequence[Line], axes: Sequence[Axis], chosen: str | None, height: int) -> dict[str, Any]:
    """Return the lines by family, those of leading runs solid and the others dim, with the line `chosen` on top."""
    columns = list(zip(*(line.values for line in lines), strict=True))
    spans = [(min(column), max(column)) for column in columns]
    traces = []
    for family in sorted({line.family for line in lines}, key=format.family_order, reverse=True):
        for leading in (False, True):
            members = [line for line in lines if (line.family, line.leading) == (family, leading)]
            if members:
                traces.append(_trace(members, axes, spans, family, leading))
        traces.append(_legend_entry(family))
    traces += [_chosen_trace(line, axes, spans) for line in lines if line.id == chosen]
    layout = {
        "height": height,
        "margin": {"l": 40, "r": 40, "t": 36, "b": 8},
        "hovermode": "closest",
        "clickmode": "event+select",
        "dragmode": "zoom",
        "legend": LEGEND,
        "xaxis": {
            "tickvals": list(range(len(axes))),
            "ticktext": [_wrapped(axis.heading) for axis in axes],
            "range": [-0.25, len(axes) - 0.75],
            "zeroline": False,
            "showgrid": True,
        },
        "yaxis": {"visible": False, "range": [-0.12, 1.12]},
        "annotations": [note for i, axis in enumerate(axes) for note in _ends(i, axis, spans[i])],
    }
    return {"data": traces, "layout": layout}


def description(lines: Sequence[Line], axes: Sequence[Axis]) -> str:
    """Return the plot's alternative text."""
    count = sum(line.leading for line in lines)
    names = ", ".join(axis.name for axis in axes)
    return f"Parallel axes: {names}. {len(lines)} runs; no other run beats {count} of them on all axes."


def _beats(other: Sequence[float], own: Sequence[float]) -> bool:
    return all(a <= b for a, b in zip(other, own, strict=True)) and tuple(other) != tuple(own)


def _height(axis: Axis, value: float, span: tuple[float, float]) -> float:
    """Return a value as a share of its axis; the best value is at 1."""
    low, high = span
    share = (value - low) / (high - low) if high > low else 0.5
    return 1 - share if axis.lower_is_better and high > low else share


def _points(line: Line, axes: Sequence[Axis], spans: Sequence[tuple[float, float]]) -> list[float]:
    return [_height(axis, value, span) for axis, value, span in zip(axes, line.values, spans, strict=True)]


def _trace(
    lines: Sequence[Line], axes: Sequence[Axis], spans: Sequence[tuple[float, float]], family: str, leading: bool
) -> dict[str, Any]:
    """Return the lines of one family as one trace; a missing point separates two lines."""
    xs: list[float | None] = []
    ys: list[float | None] = []
    custom: list[list[str] | None] = []
    for line in lines:
        xs += [*range(len(axes)), None]
        ys += [*_points(line, axes, spans), None]
        custom += [*([line.id, text] for text in line.texts), None]
    colour, symbol = style(family)
    opacity = 1.0 if leading else DIM
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": family.capitalize(),
        "showlegend": False,
        "x": xs,
        "y": ys,
        "customdata": custom,
        "hoverinfo": "none",
        "line": {"color": colour, "width": 2 if leading else 1},
        "marker": {"color": colour, "symbol": symbol, "size": 8 if leading else 5, "opacity": opacity},
        "opacity": opacity,
        "selected": {"marker": {"opacity": opacity}},
        "unselected": {"marker": {"opacity": opacity}},
    }


def _chosen_trace(line: Line, axes: Sequence[Axis], spans: Sequence[tuple[float, float]]) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines",
        "x": list(range(len(axes))),
        "y": _points(line, axes, spans),
        "hoverinfo": "skip",
        "showlegend": False,
        "line": {"color": RING, "width": 4},
    }


def _legend_entry(family: str) -> dict[str, Any]:
    colour, symbol = style(family)
    marker = {"color": colour, "symbol": symbol, "size": 11}
    rank = 1000 + format.family_order(family)[0]
    entry = {"type": "scatter", "mode": "markers", "x": [None], "y": [None], "marker": marker}
    return {**entry, "name": family.capitalize(), "legendrank": rank}


def _ends(position: int, axis: Axis, span: tuple[float, float]) -> list[dict[str, Any]]:
    """Return the best value above an axis and the worst below it."""
    worst, best = reversed(span) if axis.lower_is_better else span
    shared = {"x": position, "showarrow": False, "font": {"size": 12, "color": LINE}}
    return [
        {**shared, "y": 1.02, "yanchor": "bottom", "text": format.significant(best)},
        {**shared, "y": -0.02, "yanchor": "top", "text": format.significant(worst)},
    ]


def _wrapped(text: str) -> str:
    """Return a title with a line break after the word that exceeds the width of an axis."""
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + len(word) >= LETTERS:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return "<br>".join(lines)
