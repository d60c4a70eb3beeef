"""Pareto plots as plain Plotly figures. Imports no Streamlit; the page's theme sets the colours of ground and text."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from dit_core.records import metrics
from dit_core.records.metric import Ends
from dit_core.ui import format
from dit_core.ui.charts.axes import Axis
from dit_core.ui.charts.labels import place_labels
from dit_core.ui.charts.plot_points import PlotPoint, nearest_to_front
from dit_core.ui.style import DIM, LINE, RING, style

MAX_ERROR_BARS = 60  # with more points than these, only those on the front have error bars
LARGE_FONT = 15  # pixels
LOG_RATIO = 4  # an axis whose largest value is this many times its smallest is logarithmic
REMOVED_TOOLS = ("zoomIn2d", "zoomOut2d", "select2d", "lasso2d", "toImage")
ANSWER = "Best within the limits"
CONFIG = {"displaylogo": False, "modeBarButtonsToRemove": list(REMOVED_TOOLS)}
LEGEND = {
    "orientation": "h",
    "x": 0,
    "y": 1.02,
    "yanchor": "bottom",
    "entrywidth": 78,  # pixels: two in a row on a phone
    "itemclick": False,
    "itemdoubleclick": False,
}
OPACITIES = {"solid": 1.0, "faint": 0.65, "none": DIM}  # by membership of the front
Scale = Callable[[float], float]


def pareto_figure(
    every: Sequence[PlotPoint],
    x: Axis,
    y: Axis,
    *,
    chosen: str | None = None,
    answer: str | None = None,
    hide_dominated: bool = False,
    height: int = 400,
    limits: Mapping[str, float] | None = None,
    whole: bool = False,
    pinned: Collection[str] = (),
) -> dict[str, Any]:
    """Return points by family with the Pareto front as a stepped line.

    The plot is framed on the points that are possibly on the front, the baseline and the marked points. Points beyond
    the frame are clipped, and `layout.meta.outside` counts them; `whole` frames all points.

    Points that are likely on the front are solid, those that possibly are on it faint, others small and dim or hidden.
    The points with the ids `chosen` and `answer` get a ring and a square, `pinned` ones a label. `limits` by key of an
    axis are dotted lines.
    """
    marked = {chosen, answer, *pinned}
    candidates = [point for point in every if point.membership != "none" or not hide_dominated or point.id in marked]
    points = nearest_to_front(candidates, x, y, marked)
    framed = [point for point in points if whole or _is_framed(point, marked)] or points
    scale_x, scale_y = _scale([p.interval_x for p in framed]), _scale([p.interval_y for p in framed])
    range_x = _range([p.interval_x for p in framed], scale_x)
    range_y = _range([p.interval_y for p in framed], scale_y, y)
    inside = [p for p in points if _is_within(p.x, range_x, scale_x) and _is_within(p.y, range_y, scale_y)]
    leading = sorted((p for p in points if p.leading), key=lambda p: p.x, reverse=not x.lower_is_better)
    steps = sorted((p for p in every if p.fewer_steps), key=lambda p: p.x, reverse=not x.lower_is_better)
    traces = [*_traces(points, leading, x, y), *([_fewer_steps_line(steps)] if steps else [])]
    traces += [_ring(point, "circle-open") for point in points if point.id == chosen]
    traces += [_ring(point, "square-open", ANSWER) for point in points if point.id == answer]
    marked_first = sorted(inside, key=lambda point: point.id not in marked)  # their labels are placed first
    annotations = place_labels(
        [(scale_x(p.x), scale_y(p.y), p.short if p.leading or p.id in marked else "") for p in marked_first],
        [(scale_x(p.x), scale_y(p.y)) for p in leading],
        range_x,
        range_y,
        empty=(not x.lower_is_better, y.lower_is_better),
        height=height,
        legend_entries=sum(trace.get("showlegend", True) for trace in traces),
    )
    layout = {
        "height": height,
        "margin": {"l": 8, "r": 16, "t": 36, "b": 8},
        "hovermode": "closest",
        "dragmode": "zoom",
        "meta": {"outside": len(points) - len(inside)},
        "clickmode": "event+select",
        "legend": LEGEND,
        "xaxis": _axis(x, range_x, scale_x),
        "yaxis": _axis(y, range_y, scale_y),
        "annotations": annotations,
        "shapes": _limit_lines(x, y, limits or {}),
    }
    return {"data": traces, "layout": layout}


def enlarged(figure: dict[str, Any]) -> dict[str, Any]:
    """Return a figure with text that is read from the back of a room: ticks, titles, legend and labels."""
    layout, font = figure["layout"], {"size": LARGE_FONT}
    axes = {}
    for name in ("xaxis", "yaxis"):
        axis = layout.get(name, {})
        axes[name] = {**axis, "tickfont": font, "title": {**axis.get("title", {}), "font": font}}
    legend = layout.get("legend", {})
    wider = {"entrywidth": round(legend["entrywidth"] * LARGE_FONT / 12)} if legend.get("entrywidth") else {}
    notes = [{**note, "font": font} for note in layout.get("annotations", ())]
    large = {**axes, "font": font, "legend": {**legend, **wider, "font": font}, "annotations": notes}
    return {"data": figure["data"], "layout": {**layout, **large}}


def log_ticks(limits: Sequence[float]) -> dict[str, Any]:
    """Return ticks at 1, 2, 3, 5 and 7 of every decade between two decadic logarithms, as plain numbers."""
    decades = range(math.floor(limits[0]), math.ceil(limits[1]) + 1)
    values = [digit * 10.0**decade for decade in decades for digit in (1, 2, 3, 5, 7)]
    shown = [value for value in values if limits[0] <= math.log10(value) <= limits[1]]
    return {"tickvals": shown, "ticktext": [format.significant(value, 1) for value in shown]}


def _traces(points: Sequence[PlotPoint], leading: Sequence[PlotPoint], x: Axis, y: Axis) -> list[dict[str, Any]]:
    """Return the front, the markers of each family and the entries of the legend. The baseline is drawn on top."""
    traces = [_front_line(leading)]
    for family in sorted({point.family for point in points}, key=format.family_order, reverse=True):
        members = [point for point in points if point.family == family]
        for membership in OPACITIES:
            if part := [point for point in members if point.membership == membership]:
                bars = membership != "none" or len(points) <= MAX_ERROR_BARS
                traces.append(_markers(part, x, y, error_bars=bars))
        rank = 1000 + format.family_order(family)[0]
        traces.append(_legend_entry(family.capitalize(), *style(family), rank=rank))
    if len({point.origin for point in points}) > 1:
        traces.append(_legend_entry("Measured here", LINE, "circle-dot", rank=2000))
    if any(point.not_retrained for point in points):
        traces.append(_legend_entry(format.NOT_RETRAINED.capitalize(), LINE, "circle-open", rank=2001))
    return traces


def _markers(points: Sequence[PlotPoint], x: Axis, y: Axis, *, error_bars: bool) -> dict[str, Any]:
    """Return the markers of points of one family that are drawn alike."""
    (colour, symbol), membership = style(points[0].family), points[0].membership
    opacity = OPACITIES[membership]
    bars = {
        "error_x": _error_bars([(p.x, p.interval_x) for p in points], colour, opacity),
        "error_y": _error_bars([(p.y, p.interval_y) for p in points], colour, opacity),
    }
    return {
        "type": "scatter",
        "mode": "markers",
        "name": points[0].family.capitalize(),
        "showlegend": False,
        "x": [point.x for point in points],
        "y": [point.y for point in points],
        "customdata": [[point.id, _hover_text(point, x, y)] for point in points],
        "hoverinfo": "none",  # the script of the page writes customdata[1] below the plot, where it covers no point
        "marker": {
            "color": colour,
            "symbol": [f"{symbol}{'-open' * p.not_retrained}{'-dot' * (p.origin == 'local')}" for p in points],
            "size": 10 if membership == "none" else 13,
            "opacity": opacity,
            "line": {
                "color": "#FFFFFF",
                "width": [2 if p.not_retrained else 1.5 if p.origin == "local" else 0 for p in points],
            },
        },
        "selected": {"marker": {"opacity": opacity}},
        "unselected": {"marker": {"opacity": opacity}},
        **(bars if error_bars else {}),
    }


def _error_bars(values: Sequence[tuple[float, Ends]], colour: str, opacity: float) -> dict[str, Any]:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return {
        "type": "data",
        "visible": any(low != high for _, (low, high) in values),
        "symmetric": False,
        "array": [max(0.0, high - value) for value, (_, high) in values],
        "arrayminus": [max(0.0, value - low) for value, (low, _) in values],
        "thickness": 1.2,
        "width": 3,
        "color": f"rgba({red}, {green}, {blue}, {opacity})",
    }


def _legend_entry(name: str, colour: str, symbol: str, *, rank: int) -> dict[str, Any]:
    """Return a trace without points, so that the entry looks the same for leading and dominated points."""
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "legendrank": rank,
        "x": [None],
        "y": [None],
        "marker": {
            "color": colour,
            "symbol": symbol,
            "size": 11,
            "line": {"color": "#FFFFFF", "width": 1.5 if symbol.endswith("-dot") else 0},
        },
    }


def _front_line(leading: Sequence[PlotPoint]) -> dict[str, Any]:
    """Return the stepped line from the best point on x: horizontal to the next point, then vertical to its quality."""
    return {
        "type": "scatter",
        "mode": "lines",
        "name": "Pareto front",
        "legendrank": 999,
        "x": [point.x for point in leading],
        "y": [point.y for point in leading],
        "line": {"shape": "hv", "color": LINE, "width": 1.6},
        "hoverinfo": "skip",
    }


def _fewer_steps_line(points: Sequence[PlotPoint]) -> dict[str, Any]:
    """Return the dashed stepped line of the unchanged network with fewer steps."""
    line = {"shape": "hv", "color": LINE, "width": 1.6, "dash": "dash"}
    return {**_front_line(points), "name": "Fewer steps", "legendrank": 1900, "line": line, "cliponaxis": True}


def _limit_lines(x: Axis, y: Axis, limits: Mapping[str, float]) -> list[dict[str, Any]]:
    """Return a dotted line across the plot for each axis that has a limit."""
    line = {"color": RING, "width": 1.6, "dash": "dot"}
    across = {"x": {"xref": "paper", "x0": 0, "x1": 1}, "y": {"yref": "paper", "y0": 0, "y1": 1}}
    return [
        {"type": "line", "line": line, f"{own}0": limits[axis.key], f"{own}1": limits[axis.key], **across[other]}
        for axis, own, other in ((x, "x", "y"), (y, "y", "x"))
        if axis.key in limits
    ]


def _ring(point: PlotPoint, symbol: str, name: str = "") -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "markers",
        "x": [point.x],
        "y": [point.y],
        "marker": {"symbol": symbol, "size": 25, "color": RING, "line": {"width": 2.5}},
        "hoverinfo": "skip",
        "name": name,
        "legendrank": 3000,
        "showlegend": bool(name),
    }


def _hover_text(point: PlotPoint, x: Axis, y: Axis) -> str:
    record, lines = point.record, [f"<b>{point.title}</b>"]
    for axis, value, (low, high) in ((x, point.x, point.interval_x), (y, point.y, point.interval_y)):
        interval = f" ({format.significant(low)} to {format.significant(high)})" if low != high else ""
        lines.append(f"{axis.title}: {axis.text(value)}{interval}")
    speedup, interval = Axis(metrics.SPEEDUP), metrics.SPEEDUP.interval(record)
    ratio = speedup.read(record)
    if x != speedup and ratio is not None and interval:
        lines.append(f"{speedup.title}: {speedup.text(ratio)} ({interval[0]:.2f} to {interval[1]:.2f})")
    if metrics.PRIMARY_QUALITY.read(record) is not None:
        lines.append(f"{metrics.JUDGED_IMAGES.title}: {metrics.JUDGED_IMAGES.read(record) or 0:,}")
    lines.append(f"On the front in {100 * point.share:.0f} % of draws from the intervals")
    lines += point.notes
    if point.not_retrained:
        lines.append(f"<b>{format.NOT_RETRAINED.capitalize()}</b>")
    lines.append("Measured here" if point.origin == "local" else point.origin.capitalize())
    return "<br>".join(lines)


def _is_framed(point: PlotPoint, marked: Collection[str | None]) -> bool:
    """Return whether the frame of a plot must contain a point."""
    return point.membership != "none" or point.id in marked or not point.record.spec["techniques"]


def _is_within(value: float, limits: Sequence[float], scale: Scale) -> bool:
    if scale is math.log10 and value <= 0:
        return False
    return limits[0] <= scale(value) <= limits[1]


def _scale(intervals: Sequence[Ends]) -> Scale:
    """Return the identity, or the decadic logarithm if one distant point would compress all others."""
    ends = [end for interval in intervals for end in interval] or [1.0]
    return math.log10 if min(ends) > 0 and max(ends) > LOG_RATIO * min(ends) else float


def _axis(axis: Axis, limits: Sequence[float], scale: Scale) -> dict[str, Any]:
    log = scale is math.log10
    title = axis.label.replace(")", ", log)") if log else axis.label
    ticks = {"type": "log", **log_ticks(limits)} if log else {}
    return {"title": {"text": title}, "range": list(limits), "zeroline": False, **ticks}


def _range(intervals: Sequence[Ends], scale: Scale, labelled: Axis | None = None) -> list[float]:
    """Return a range with all error bars and room for labels; `labelled` has more room beyond its best value."""
    ends = [scale(end) for interval in intervals for end in interval] or [0.0, 1.0]
    low, high = min(ends), max(ends)
    room = 0.16 * (high - low) or 0.1 * abs(high) or 1.0
    if labelled is None:
        return [low - room, high + room]
    return [low - 2 * room, high + room / 2] if labelled.lower_is_better else [low - room / 2, high + 2 * room]
