"""Parts of the page Scale: how cost grows with tokens, width, depth and batch."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import streamlit as st
from plotly.graph_objects import Figure

from dit_core.analysis import scaling
from dit_core.analysis.scaling import Line, Scaling
from dit_core.records.store import Stored
from dit_core.ui import data, format
from dit_core.ui.charts import pareto_plot
from dit_core.ui.compare import compare_page
from dit_core.ui.components import elements
from dit_core.ui.scale import plots, sentences
from dit_core.ui.scale.plots import COSTS, Cost

COMMAND = "python -m dit_core sweep dit_core/sweeps/scale.toml"


def scalings(dimension: str) -> list[Scaling]:
    """Return the sets of records that differ in one dimension only."""
    return _scalings(data.Runs.of(data.loaded().records), dimension)


def choose(scales: Sequence[Scaling], key: str) -> Scaling:
    """Return the chosen set; asks only if there are several."""
    if len(scales) == 1:
        return scales[0]
    titles = [sentences.fixed_settings(scale) for scale in scales]
    return scales[st.selectbox("Settings", range(len(scales)), key=key, format_func=titles.__getitem__)]


def choose_cost(key: str) -> Cost:
    """Return the chosen vertical axis."""
    options: dict[str, Any] = {"required": True, "label_visibility": "collapsed", "bind": "query-params"}
    return COSTS[st.segmented_control("Cost", list(COSTS), default="Time", key=key, **options) or "Time"]


def findings(tokens: Scaling) -> None:
    """What the records show, in a few sentences."""
    st.markdown(" ".join(sentences.findings(tokens)))


def plot(scale: Scaling, cost: Cost, key: str) -> None:
    """Cost of an image against the size; a click opens the run."""
    _chart(plots.cost_against_size(scale, cost), key)


def shares(scale: Scaling, key: str) -> None:
    """Share of attention against the size; a click opens the run."""
    _chart(plots.attention_share(scale), key)


def table(scale: Scaling) -> None:
    """Exponents, crossing point and speed-ups of each kind of attention."""
    names = ("Attention", "Exponent of time", "Exponent of attention time", "Faster from")
    rows = [
        [
            sentences.title(line, sentences.SOFTMAX),
            sentences.time_exponent(line),
            sentences.attention_exponent(line),
            sentences.faster_from(line) if line.recipe else format.UNKNOWN,
            *_cells(scale, line),
        ]
        for line in scale.lines
    ]
    columns = [*names, *(f"At {place:,}" for place in scale.places())]
    st.table(
        dict(zip(columns, map(list, zip(*rows, strict=True)), strict=True)),
        border="horizontal",
        hide_index=True,
        alt="Exponents, crossing point and speed-ups of each kind of attention",
    )
    st.caption(
        "Exponent: slope of log time against log tokens, by least squares; 1 is linear growth, 2 quadratic. Faster "
        "from: the number of tokens above which every measured speed-up is greater than 1, interpolated between the "
        "measured sizes; in brackets, the same for the ends of the 95 % intervals. Speed-ups are over softmax "
        "attention in the same run."
    )


def growth(scale: Scaling, cost: Cost) -> None:
    """The exponent with which the cost of an image grows, one sentence per line."""
    dimension = sentences.DIMENSIONS[scale.dimension].lower()
    for line in scale.lines:
        places = sentences.places(scale, line)
        exponent = scaling.exponent(places, [cost.read(point).value for point in line.points])
        st.caption(
            f"{sentences.title(line, sentences.UNMODIFIED)}: {cost.title.lower()} per image grows with {dimension} to "
            f"the power of {exponent:.2f}, from {places[0]:,} to {places[-1]:,}."
        )


def missing(titles: Sequence[str]) -> None:
    """What has not been measured at two sizes yet, and the command that measures it."""
    if titles:
        st.info(f"{', '.join(titles).capitalize()}: not measured at two sizes yet. This command measures them:")
        st.code(COMMAND, language=None)


def caption(scale: Scaling) -> None:
    """Where the figures were measured, and how they were computed."""
    with st.container(horizontal=True, gap="small"):
        for stored in _one_per_origin(scale):
            elements.origin_badge(stored)
    st.caption(
        f"Measured on {format.environment(scale.record)}. Random weights, so only cost can be compared. Settings: "
        f"{sentences.fixed_settings(scale)}. The baseline's time is the median over all runs of a size; the time of "
        "another line is the baseline's divided by the speed-up measured in that line's own run. Error bars: 95 % "
        "interval of the speed-up; for the baseline, the range over its runs."
    )


def compare_link(scale: Scaling) -> None:
    """A link to the comparison of the runs of the largest size."""
    most = scale.places()[-1]
    points = [line.points[-1] for line in scale.lines if sentences.places(scale, line)[-1] == most]
    runs = [stored for point in points if (stored := data.find(point.record.run_id))]
    if len(runs) >= compare_page.FEWEST:
        compare_page.link(runs[: compare_page.MOST], f"Compare runs at {most:,} {scale.dimension}")


def _cells(scale: Scaling, line: Line) -> list[str]:
    """The speed-up at each size; for the baseline, the time."""
    points = {point.size.tokens: point for point in line.points}
    cells = []
    for place in scale.places():
        point = points.get(place)
        if point is None:
            cells.append(format.UNKNOWN)
        else:
            cells.append(sentences.speedup(point.speedup) if line.recipe else sentences.milliseconds(point))
    return cells


def _one_per_origin(scale: Scaling) -> list[Stored]:
    """One record for each origin that the points have."""
    shown = {(point.record.run_id, point.record.created_at) for line in scale.lines for point in line.points}
    records = (stored for stored in data.loaded().records if (stored.record.run_id, stored.record.created_at) in shown)
    return list({stored.origin: stored for stored in records}.values())


def _chart(drawing: plots.Drawing, key: str) -> None:
    figure, alt = drawing
    st.plotly_chart(
        Figure(figure),
        key=key,
        config=pareto_plot.CONFIG,
        on_select=lambda: _open_selected(key),
        selection_mode="points",
        alt=alt,
    )


def _open_selected(key: str) -> None:
    points = st.session_state[key]["selection"]["points"]
    if points and (values := points[0].get("customdata")):
        st.switch_page("../../pages/pareto.py", query_params={"run": str(values[0])})


@lru_cache(maxsize=8)
def _scalings(runs: data.Runs, dimension: str) -> list[Scaling]:
    return scaling.scalings([stored.record for stored in runs.records], dimension)
