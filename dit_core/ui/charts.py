"""Pareto plots, and where the time goes, as plain Plotly figures.

Knows no Streamlit; the page's theme fills in ground and text.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dit_core.spec import RunRecord
from dit_core.ui import words
from dit_core.ui.axes import Axis, Spread, relative_time
from dit_core.ui.dots import Dot, nearest
from dit_core.ui.labels import place
from dit_core.ui.looks import DIM, LINE, PARTS, RING, style

BARS = 100  # among more points than these only those on the front have error bars
LOG_FROM = 4  # an axis whose largest value is this many times its smallest is logarithmic
TOOLS = ("zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "autoScale2d", "select2d", "lasso2d")
STILL = {"displayModeBar": False}
ANSWER = "Best within the limits"
SEEN = 0.005  # a smaller part of the time is not drawn
WRITTEN = 0.09  # nor is a smaller one written into
CONFIG = {"displaylogo": False, "modeBarButtonsToRemove": list(TOOLS)}
LEGEND = {
    "orientation": "h",
    "x": 0,
    "y": 1.02,
    "yanchor": "bottom",
    "entrywidth": 78,  # pixels: two in a row on a phone
    "itemclick": False,
    "itemdoubleclick": False,
}


def pareto(
    every: Sequence[Dot],
    x: Axis,
    y: Axis,
    *,
    chosen: str | None = None,
    answer: str | None = None,
    hide_dominated: bool = False,
    height: int = 400,
    limits: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """Points by family, the true front as steps, dominated points dimmed or left out, a ring on `chosen` and `answer`.

    `limits` by the keys of axes are dotted lines.
    """
    marked = {chosen, answer}
    dots = nearest([dot for dot in every if dot.leading or not hide_dominated or dot.id in marked], x, y, marked)
    scale_x, scale_y = _scale([d.spread_x for d in dots]), _scale([d.spread_y for d in dots])
    range_x, range_y = _range([d.spread_x for d in dots], scale_x), _range([d.spread_y for d in dots], scale_y, y)
    line = sorted((dot for dot in dots if dot.leading), key=lambda dot: dot.x, reverse=x.better == "more")
    traces = [_front_line(line)]
    # The baseline is drawn last, on top of all.
    for family in sorted({dot.family for dot in dots}, key=words.family_order, reverse=True):
        members = [dot for dot in dots if dot.family == family]
        traces += [
            _markers(part, x, y, bars=part[0].leading or len(dots) <= BARS)
            for part in ([d for d in members if d.leading], [d for d in members if not d.leading])
            if part
        ]
        traces.append(_legend(family.capitalize(), *style(family), rank=1000 + words.family_order(family)[0]))
    if len({dot.origin for dot in dots}) > 1:
        traces.append(_legend("Measured here", LINE, "circle-dot", rank=2000))
    traces += [_ring(dot, "circle-open") for dot in dots if dot.id == chosen]
    traces += [_ring(dot, "square-open", ANSWER) for dot in dots if dot.id == answer]
    first = sorted(dots, key=lambda dot: dot.id not in marked)  # they have the first choice of a place
    annotations = place(
        [(scale_x(dot.x), scale_y(dot.y), dot.short if dot.leading or dot.id in marked else "") for dot in first],
        [(scale_x(dot.x), scale_y(dot.y)) for dot in line],
        range_x,
        range_y,
        empty=(x.better == "more", y.better == "less"),
        height=height,
        names=sum(trace.get("showlegend", True) for trace in traces),
    )
    layout = {
        "height": height,
        "margin": {"l": 8, "r": 16, "t": 36, "b": 8},
        "hovermode": "closest",
        "clickmode": "event+select",
        "legend": LEGEND,
        "xaxis": _axis(x, range_x, scale_x),
        "yaxis": _axis(y, range_y, scale_y),
        "annotations": annotations,
        "shapes": _limits(x, y, limits or {}),
    }
    return {"data": traces, "layout": layout}


def time_shares(record: RunRecord) -> tuple[dict[str, Any], str] | None:
    """Where the time of a run goes beside its baseline's, both in shares of the baseline's time, and that in words."""
    sides = {"This run": record.latency.get("time_shares")}
    scales = {"This run": 1.0}
    if record.spec["techniques"] and (before := record.speedup.get("baseline_time_shares")):
        sides, scales["Baseline"] = {"Baseline": before, **sides}, 1.0
        scales["This run"] = relative_time(record) or 1.0
    if not sides["This run"]:
        return None
    known = {side: shares for side, shares in sides.items() if shares}
    traces = []
    for part, (name, colour) in PARTS.items():
        shares = {side: found.get(part, 0.0) for side, found in known.items()}
        if max(shares.values()) >= SEEN:
            traces.append(_share_bars(name, colour, shares, scales))
    told = ". ".join(f"{side}: {_parts_in_words(shares)}" for side, shares in known.items())
    layout = {
        "height": 130 + 42 * len(known),  # on a phone the legend takes four rows of it
        "margin": {"l": 8, "r": 16, "t": 30, "b": 8},
        "barmode": "stack",
        "legend": {**LEGEND, "traceorder": "normal", "entrywidth": 0},
        "xaxis": {"title": {"text": "Time, % of the baseline's"}, "zeroline": False},
        "yaxis": {"autorange": "reversed"},
    }
    return {"data": traces, "layout": layout}, f"Where the time goes. {told}."


def _parts_in_words(shares: dict[str, float]) -> str:
    named = ((name, shares.get(part, 0.0)) for part, (name, _) in PARTS.items())
    return ", ".join(f"{name} {100 * share:.0f} %" for name, share in named if share >= SEEN)


def _share_bars(name: str, colour: str, shares: dict[str, float], scales: dict[str, float]) -> dict[str, Any]:
    """One part of the time of each side; it hovers with its share of that side's own time."""
    return {
        "type": "bar",
        "orientation": "h",
        "name": name,
        "y": list(shares),
        "x": [100 * share * scales[side] for side, share in shares.items()],
        "customdata": [100 * share for share in shares.values()],
        "text": [f"{100 * share:.0f} %" if share * scales[side] >= WRITTEN else "" for side, share in shares.items()],
        "textposition": "inside",
        "insidetextanchor": "middle",
        "hovertemplate": f"{name}: %{{customdata:.1f}} % of its time<extra></extra>",
        "marker": {"color": colour, "line": {"color": LINE, "width": 1}},  # the outline is seen on both grounds
    }


def _markers(dots: list[Dot], x: Axis, y: Axis, *, bars: bool) -> dict[str, Any]:
    """Points of one family, all of them leading or all of them dominated, with error bars or without."""
    (colour, symbol), leading = style(dots[0].family), dots[0].leading
    opacity, symbols = 1 if leading else DIM, [f"{symbol}-dot" if dot.origin == "local" else symbol for dot in dots]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": dots[0].family.capitalize(),
        "showlegend": False,
        "x": [dot.x for dot in dots],
        "y": [dot.y for dot in dots],
        "cliponaxis": False,
        "customdata": [[dot.id, _hover(dot, x, y)] for dot in dots],
        "hovertemplate": "%{customdata[1]}<extra></extra>",
        "marker": {
            "color": colour,
            "symbol": symbols,
            "size": 13 if leading else 10,
            "opacity": opacity,
            "line": {"color": "#FFFFFF", "width": [1.5 if dot.origin == "local" else 0 for dot in dots]},
        },
        "selected": {"marker": {"opacity": opacity}},
        "unselected": {"marker": {"opacity": opacity}},
        **({"error_x": _bars([(dot.x, dot.spread_x) for dot in dots], colour, opacity)} if bars else {}),
        **({"error_y": _bars([(dot.y, dot.spread_y) for dot in dots], colour, opacity)} if bars else {}),
    }


def _bars(values: list[tuple[float, Spread]], colour: str, opacity: float) -> dict[str, Any]:
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


def _legend(name: str, colour: str, symbol: str, *, rank: int) -> dict[str, Any]:
    """An entry of its own, so that it looks the same whether the family leads anywhere or not."""
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


def _front_line(leading: list[Dot]) -> dict[str, Any]:
    """From the best on x on: level until the next point, then a step to its quality."""
    return {
        "type": "scatter",
        "mode": "lines",
        "name": "Pareto front",
        "legendrank": 999,
        "x": [dot.x for dot in leading],
        "y": [dot.y for dot in leading],
        "line": {"shape": "hv", "color": LINE, "width": 1.6},
        "hoverinfo": "skip",
    }


def _limits(x: Axis, y: Axis, limits: Mapping[str, float]) -> list[dict[str, Any]]:
    """A dotted line across the plot at the limit of each of its axes."""
    line = {"color": RING, "width": 1.6, "dash": "dot"}
    across = {"x": {"xref": "paper", "x0": 0, "x1": 1}, "y": {"yref": "paper", "y0": 0, "y1": 1}}
    return [
        {"type": "line", "line": line, f"{own}0": limits[axis.key], f"{own}1": limits[axis.key], **across[other]}
        for axis, own, other in ((x, "x", "y"), (y, "y", "x"))
        if axis.key in limits
    ]


def _ring(dot: Dot, symbol: str, name: str = "") -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "markers",
        "x": [dot.x],
        "y": [dot.y],
        "marker": {"symbol": symbol, "size": 25, "color": RING, "line": {"width": 2.5}},
        "hoverinfo": "skip",
        "name": name,
        "legendrank": 3000,
        "showlegend": bool(name),
    }


def _hover(dot: Dot, x: Axis, y: Axis) -> str:
    speedup, lines = dot.record.speedup, [f"<b>{dot.title}</b>"]
    for axis, value, (low, high) in ((x, dot.x, dot.spread_x), (y, dot.y, dot.spread_y)):
        around = f" ({words.significant(low)} to {words.significant(high)})" if low != high else ""
        lines.append(f"{axis.title}: {axis.text(value)}{around}")
    if x.key != "speedup" and speedup.get("ratio") is not None and dot.record.spec["techniques"]:
        lines.append(f"speed-up ×{speedup['ratio']:.2f} ({speedup['low']:.2f} to {speedup['high']:.2f})")
    if dot.record.quality.get("distance") is not None:
        lines.append(f"{dot.record.quality['count']:,} images judged")
    lines.append("measured here" if dot.origin == "local" else "bundled")
    return "<br>".join(lines)


def _scale(spreads: list[Spread]) -> Callable[[float], float]:
    """Linear, or the decadic logarithm where one far point would press all others together."""
    ends = [end for spread in spreads for end in spread] or [1.0]
    return math.log10 if min(ends) > 0 and max(ends) > LOG_FROM * min(ends) else float


def _axis(axis: Axis, limits: list[float], scale: Callable[[float], float]) -> dict[str, Any]:
    log = scale is math.log10
    title = axis.label.replace(")", ", log)") if log else axis.label
    ticks = {"type": "log", **log_ticks(limits)} if log else {}
    return {"title": {"text": title}, "range": limits, "zeroline": False, **ticks}


def log_ticks(limits: list[float]) -> dict[str, Any]:
    """1, 2, 3, 5 and 7 of every decade between two logarithms, written out."""
    decades = range(math.floor(limits[0]), math.ceil(limits[1]) + 1)
    values = [digit * 10.0**decade for decade in decades for digit in (1, 2, 3, 5, 7)]
    shown = [value for value in values if limits[0] <= math.log10(value) <= limits[1]]
    return {"tickvals": shown, "ticktext": [words.significant(value, 1) for value in shown]}


def _range(spreads: list[Spread], scale: Callable[[float], float], labelled: Axis | None = None) -> list[float]:
    """All points with their error bars, with room for the labels around them, more beyond the best on `labelled`."""
    ends = [scale(end) for spread in spreads for end in spread] or [0.0, 1.0]
    low, high = min(ends), max(ends)
    room = 0.16 * (high - low) or 0.1 * abs(high) or 1.0
    more, less = (2 * room, room / 2) if labelled else (room, room)
    return [low - more, high + less] if labelled is None or labelled.better == "less" else [low - less, high + more]
