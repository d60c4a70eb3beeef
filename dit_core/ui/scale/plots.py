"""Plotly figures of the page Scale: cost and the share of attention against size. Knows no Streamlit."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from dit_core.analysis.scaling import Line, Point, Range, Scaling
from dit_core.records.spec import RunSpec
from dit_core.ui import format, style
from dit_core.ui.charts import pareto_plot
from dit_core.ui.scale import sentences

AXES = {"tokens": "Tokens per image", "width": "Width of a token", "depth": "Blocks", "batch": "Images per call"}
# Lines of one family share its colours; dashes, and open markers that no family uses, distinguish them.
MARKERS = ("triangle-up", "triangle-left", "hourglass", "diamond-tall", "triangle-right", "hexagram", "bowtie")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot", "3px,8px")  # as many as markers
HEIGHT = 420  # pixels
Look = tuple[str, str, str]  # colour, marker, dash
Drawing = tuple[dict[str, Any], str]  # a figure and its description for screen readers


@dataclass(frozen=True)
class Cost:
    """A vertical axis: time or operations per image, in a unit of `factor` per second or operation."""

    title: str
    unit: str
    factor: float

    def read(self, point: Point) -> Range:
        """Return the cost of one image with its interval."""
        values = point.time_s if self.unit == "ms" else Range(point.flops, point.flops, point.flops)
        return Range(*(self.factor * value / point.size.batch for value in values))


COSTS = {cost.title: cost for cost in (Cost("Time", "ms", 1e3), Cost("Operations", "GFLOP", 1e-9))}


def cost_against_size(scale: Scaling, cost: Cost) -> Drawing:
    """Return the cost of an image against the size, both axes logarithmic, one line per recipe."""
    costs = [[cost.read(point) for point in line.points] for line in scale.lines]
    traces = [
        _trace(scale, line, look, values, f"{{}} {cost.unit}")
        for line, look, values in zip(scale.lines, _looks(scale), costs, strict=True)
    ]
    ends = [end for values in costs for value in values for end in (value.low, value.high)]
    axis = {
        "type": "log",
        "title": {"text": f"{cost.title} per image, {cost.unit} (log scale)"},
        **pareto_plot.log_ticks([math.floor(math.log10(min(ends))), math.ceil(math.log10(max(ends)))]),
    }
    descriptions = []
    for line, values in zip(scale.lines, costs, strict=True):
        places = zip(sentences.places(scale, line), values, strict=True)
        figures = ", ".join(f"{format.significant(value.value)} {cost.unit} at {place:,}" for place, value in places)
        descriptions.append(f"{sentences.title(line, sentences.baseline_title(scale))}: {figures}")
    return _figure(scale, traces, axis), ". ".join(descriptions)


def attention_share(scale: Scaling) -> Drawing:
    """Return the share of attention in the time of each line and, for softmax attention, in the operations."""
    traces, descriptions = [], []
    for line, look in zip(scale.lines, _looks(scale), strict=True):
        points = tuple(point for point in line.points if point.attention is not None)
        if points:
            values = [_percent(point.attention) for point in points]
            traces.append(_trace(scale, replace(line, points=points), look, values, "{} % of the time"))
            shares = " and ".join(f"{value.value:.0f} %" for value in values)
            descriptions.append(f"{sentences.title(line, sentences.SOFTMAX)} {shares} of the time")
    counted = tuple(point for line in scale.lines for point in line.points if point.attention_flops is not None)
    if counted:
        values = [_percent(point.attention_flops) for point in counted]
        look = (style.LINE, "diamond-open", "dot")
        trace = _trace(scale, Line((), counted), look, values, "{} % of the operations")
        traces.append({**trace, "name": f"{sentences.SOFTMAX}, of operations"})
    axis = {"title": {"text": "Share of attention, %"}, "rangemode": "tozero"}
    return _figure(scale, traces, axis), ". ".join(descriptions)


def _percent(share: float | None) -> Range:
    return Range(*(100 * (share or 0),) * 3)


def _figure(scale: Scaling, traces: list[dict[str, Any]], y: dict[str, Any]) -> dict[str, Any]:
    places = scale.places()
    x = {
        "type": "log",
        "title": {"text": f"{AXES[scale.dimension]} (log scale)"},
        "tickvals": places,
        "ticktext": [f"{place:,}" for place in places],
    }
    layout = {
        "height": HEIGHT,
        "margin": {"l": 8, "r": 16, "t": 8, "b": 8},
        "hovermode": "closest",
        "clickmode": "event+select",
        "legend": {**pareto_plot.LEGEND, "y": -0.2, "yanchor": "top", "entrywidth": 165},
        "xaxis": {**x, "zeroline": False},
        "yaxis": {**y, "zeroline": False},
    }
    return {"data": traces, "layout": layout}


def _trace(scale: Scaling, line: Line, look: Look, values: Sequence[Range], text: str) -> dict[str, Any]:
    """A line with its error bars; `text` formats a value on hover, and `customdata` begins with the run id."""
    (colour, symbol, dash), name = look, sentences.title(line, sentences.baseline_title(scale))
    places = sentences.places(scale, line)
    hover = [
        f"<b>{name}</b><br>{place:,} {scale.dimension}: {text.format(format.significant(value.value))}"
        for place, value in zip(places, values, strict=True)
    ]
    opaque = {"opacity": 1}
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": name,
        "x": places,
        "y": [value.value for value in values],
        "customdata": [[point.record.run_id, label] for point, label in zip(line.points, hover, strict=True)],
        "hovertemplate": "%{customdata[1]}<extra></extra>",
        "line": {"color": colour, "width": 2, "dash": dash},
        "marker": {"color": colour, "symbol": symbol, "size": 11, "line": {"color": colour, "width": 2}},
        "selected": {"marker": opaque},
        "unselected": {"marker": opaque},
        "error_y": {
            "type": "data",
            "symmetric": False,
            "visible": any(value.low != value.high for value in values),
            "array": [value.high - value.value for value in values],
            "arrayminus": [value.value - value.low for value in values],
            "thickness": 1.2,
            "width": 3,
            "color": colour,
        },
    }


def _looks(scale: Scaling) -> list[Look]:
    """The look of each line: its family's, or a shade of it if the family has several lines."""
    families = [_family(line) for line in scale.lines]
    return [
        (*style.style(family), "solid")
        if families.count(family) == 1
        else _shade(family, families[:place].count(family))
        for place, family in enumerate(families)
    ]


def _shade(family: str, nth: int) -> Look:
    colours = style.shades(family)
    return colours[nth % len(colours)], f"{MARKERS[nth % len(MARKERS)]}-open", DASHES[nth % len(DASHES)]


def _family(line: Line) -> str:
    return format.family(RunSpec.from_dict(line.points[0].record.spec)) if line.recipe else format.FAMILIES[0]
