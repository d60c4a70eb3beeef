"""Parts of the page that shows how cost grows with tokens, width, depth and batch."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import streamlit as st
from plotly.graph_objects import Figure

from dit_core import scale
from dit_core.scale import Line, Point, Range, Scaling
from dit_core.spec import RunSpec
from dit_core.store import Store, Stored, results_root
from dit_core.ui import charts, compare, components, looks, reads, words
from dit_core.ui import scale_words as said

AXES = {"tokens": "Tokens of an image", "width": "Width of a token", "depth": "Blocks", "batch": "Images a call"}
COMMAND = "python -m dit_core sweep dit_core/scale.toml"
# Lines of one family share its colour in shades, and are told apart by dashes and by open markers of no other family.
MARKERS = ("triangle-up", "triangle-left", "hourglass", "diamond-tall", "triangle-right", "star-triangle-up", "bowtie")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
HEIGHT = 420
Look = tuple[str, str, str]  # colour, marker, dash


@dataclass(frozen=True)
class Cost:
    """What is drawn upwards: a figure of a point for one image, with its interval."""

    title: str
    unit: str
    factor: float

    def read(self, point: Point) -> Range:
        figures = point.time_s if self.unit == "ms" else Range(point.flops, point.flops, point.flops)
        return Range(*(self.factor * value / point.size.batch for value in figures))


COSTS = {cost.title: cost for cost in (Cost("Time", "ms", 1e3), Cost("Operations", "GFLOP", 1e-9))}


def scalings(dimension: str) -> list[Scaling]:
    """What the store has over one dimension."""
    return _scalings(results_root(), Store().version(), dimension)


def choose(found: Sequence[Scaling], key: str) -> Scaling:
    """One environment, workload and rest of the size; asks only where there are several."""
    titles = [said.about(one) for one in found]
    if len(found) == 1:
        return found[0]
    place = st.selectbox("Of these runs", range(len(found)), key=key, format_func=titles.__getitem__)
    return found[place]


def choose_cost(key: str) -> Cost:
    shared: dict[str, Any] = {"required": True, "label_visibility": "collapsed", "bind": "query-params"}
    return COSTS[st.segmented_control("Cost", list(COSTS), default="Time", key=key, **shared) or "Time"]


def findings(tokens: Scaling) -> None:
    """What the records say, in a few plain sentences."""
    st.markdown(" ".join(said.told(tokens)))


def plot(found: Scaling, cost: Cost, key: str) -> None:
    """Cost of an image against the dimension, both logarithmic, one line for each recipe; a click opens the run."""
    drawn = [[cost.read(point) for point in line.points] for line in found.lines]
    traces = [
        _trace(found, line, look, values, f"{{}} {cost.unit}")
        for line, look, values in zip(found.lines, _looks(found), drawn, strict=True)
    ]
    ends = [end for values in drawn for value in values for end in (value.low, value.high)]
    title = f"{cost.title} of an image, {cost.unit} (log scale)"
    axis = {
        "type": "log",
        "title": {"text": title},
        **charts.log_ticks([math.floor(math.log10(min(ends))), math.ceil(math.log10(max(ends)))]),
    }
    told = []
    for line, values in zip(found.lines, drawn, strict=True):
        places = zip(said.places(found, line), values, strict=True)
        figures = ", ".join(f"{words.significant(value.value)} {cost.unit} at {place:,}" for place, value in places)
        told.append(f"{said.name(line, said.baseline(found))}: {figures}")
    _chart(found, traces, axis, ". ".join(told), key)


def shares(found: Scaling, key: str) -> None:
    """The share of attention in the time of each line and, of softmax attention, in the FLOPs."""
    traces, told = [], []
    for line, look in zip(found.lines, _looks(found), strict=True):
        known = [point for point in line.points if point.attention is not None]
        values = [Range(*(100 * (point.attention or 0),) * 3) for point in known]
        if known:
            traces.append(_trace(found, replace(line, points=tuple(known)), look, values, "{} % of the time"))
            told.append(
                f"{said.name(line, said.SOFTMAX)} {' and '.join(f'{v.value:.0f} %' for v in values)} of the time"
            )
    counted = [point for line in found.lines for point in line.points if point.attention_flops is not None]
    if counted:
        values = [Range(*(100 * (point.attention_flops or 0),) * 3) for point in counted]
        look = (looks.LINE, "diamond-open", "dot")
        line = Line((), tuple(counted))
        trace = _trace(found, line, look, values, "{} % of the operations")
        traces.append({**trace, "name": f"{said.SOFTMAX}, of operations"})
    axis = {"title": {"text": "Share of attention, %"}, "rangemode": "tozero"}
    _chart(found, traces, axis, ". ".join(told), key)


def table(found: Scaling) -> None:
    """Growth and crossing point of each kind of attention, and its speed-up where it was measured."""
    rows: dict[str, list[str]] = {"Attention": [], "Power of time": [], "Power of attention alone": []}
    rows["Faster from"] = []
    rows.update({f"At {place:,}": [] for place in found.places()})
    for line in found.lines:
        rows["Attention"].append(said.name(line, said.SOFTMAX))
        rows["Power of time"].append(said.growth(line))
        rows["Power of attention alone"].append(said.attention_growth(line))
        rows["Faster from"].append(said.faster_from(line) if line.recipe else words.UNKNOWN)
        by_place = {point.size.tokens: point for point in line.points}
        for place in found.places():
            point = by_place.get(place)
            rows[f"At {place:,}"].append(
                words.UNKNOWN if point is None else said.times(point.speedup) if line.recipe else said.ms(point)
            )
    st.table(rows, border="horizontal", hide_index=True, alt="Growth and crossing point of each kind of attention")
    st.caption(
        "Power: least squares of log time over log tokens; 1 is linear, 2 quadratic. Faster from: the tokens from "
        "which every measured speed-up is above 1, interpolated on logarithms between measured sizes; in brackets the "
        "same for both ends of the speed-ups' 95 % intervals. Speed-ups are over softmax attention in the same run."
    )


def growth(found: Scaling, cost: Cost) -> None:
    """The power with which the cost of an image grows, one sentence for each line."""
    grows = f"{cost.title.lower()} of an image grows with {said.OTHERS[found.dimension].lower()}"
    for line in found.lines:
        places = [scale.at(point, found.dimension) for point in line.points]
        power = scale.exponent(places, [cost.read(point).value for point in line.points])
        st.caption(
            f"{said.name(line, said.DENSE)}: {grows} to the power of {power:.2f}, from {places[0]:,} to {places[-1]:,}."
        )


def missing(titles: Sequence[str]) -> None:
    """What has not been measured at two sizes yet, and the command that measures it."""
    if titles:
        st.info(
            f"{', '.join(titles).capitalize()}: not measured at two sizes yet. This command measures what is missing:"
        )
        st.code(COMMAND, language=None)


def caption(found: Scaling) -> None:
    """Where these figures come from, and how they were measured."""
    record = found.record
    with st.container(horizontal=True, gap="small"):
        for one in origins(found).values():
            components.origin_badge(one)
    st.caption(
        f"Measured on {words.environment(record)}; random weights, so cost only; {said.about(found)}. A line's time "
        "is the baseline's, the median over all runs of that size, divided by the line's speed-up in its own run. "
        "Bars: the speed-up's 95 % interval; for the baseline, the range over its runs."
    )


def compare_link(found: Scaling) -> None:
    """A way to the figures of the runs of the largest size, side by side."""
    most = found.places()[-1]
    ends = [line.points[-1] for line in found.lines if said.places(found, line)[-1] == most]
    stored = [one for point in ends if (one := reads.find(point.record.run_id))]
    if len(stored) >= compare.FEWEST:
        compare.link(stored[: compare.MOST], f"Compare runs at {most:,} {found.dimension}")


def origins(found: Scaling) -> dict[str, Stored]:
    """One of the runs for each origin that these have."""
    shown = {(point.record.run_id, point.record.created_at) for line in found.lines for point in line.points}
    return {one.origin: one for one in reads.loaded().records if (one.record.run_id, one.record.created_at) in shown}


def _chart(found: Scaling, traces: list[dict[str, Any]], y: dict[str, Any], alt: str, key: str) -> None:
    places = found.places()
    x = {
        "type": "log",
        "title": {"text": f"{AXES[found.dimension]} (log scale)"},
        "tickvals": places,
        "ticktext": [f"{place:,}" for place in places],
    }
    layout = {
        "height": HEIGHT,
        "margin": {"l": 8, "r": 16, "t": 8, "b": 8},
        "hovermode": "closest",
        "clickmode": "event+select",
        "legend": {**charts.LEGEND, "y": -0.2, "yanchor": "top", "entrywidth": 165},
        "xaxis": {**x, "zeroline": False},
        "yaxis": {**y, "zeroline": False},
    }
    st.plotly_chart(
        Figure({"data": traces, "layout": layout}),
        key=key,
        config=charts.CONFIG,
        on_select=lambda: _clicked(key),
        selection_mode="points",
        alt=alt,
    )


def _trace(found: Scaling, line: Line, look: Look, values: Sequence[Range], text: str) -> dict[str, Any]:
    (colour, symbol, dash), name = look, said.name(line, said.baseline(found))
    hover = [
        f"<b>{name}</b><br>{place:,} {found.dimension}: {text.format(words.significant(value.value))}"
        for place, value in zip(said.places(found, line), values, strict=True)
    ]
    opaque = {"opacity": 1}
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": name,
        "x": said.places(found, line),
        "y": [value.value for value in values],
        "customdata": [[point.record.run_id, told] for point, told in zip(line.points, hover, strict=True)],
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


def _looks(found: Scaling) -> list[Look]:
    """The family's look where it has one line, and of its shades where it has several."""
    families = [_family(line) for line in found.lines]
    return [
        (*looks.style(family), "solid")
        if families.count(family) == 1
        else _look(family, families[:place].count(family))
        for place, family in enumerate(families)
    ]


def _look(family: str, nth: int) -> Look:
    colours = looks.shades(family)
    return colours[nth % len(colours)], f"{MARKERS[nth % len(MARKERS)]}-open", DASHES[nth % len(DASHES)]


def _family(line: Line) -> str:
    return words.family(RunSpec.from_dict(line.points[0].record.spec)) if line.recipe else words.FAMILIES[0]


def _clicked(key: str) -> None:
    chosen = st.session_state[key]["selection"]["points"]
    if chosen and (data := chosen[0].get("customdata")):
        st.switch_page("../../pages/pareto.py", query_params={"run": str(data[0])})


@lru_cache(maxsize=8)
def _scalings(root: Path, version: str, dimension: str) -> list[Scaling]:
    return scale.scalings([one.record for one in Store(root).load().records], dimension)
