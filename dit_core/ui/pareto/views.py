"""The plots at the top of the page Pareto, in one of three views, with the samples of the chosen run next to them."""

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import streamlit as st
from plotly.graph_objects import Figure
from streamlit.delta_generator import DeltaGenerator

from dit_core.records import metrics
from dit_core.records.store import Stored
from dit_core.ui import data
from dit_core.ui.charts import parallel
from dit_core.ui.charts.axes import Axis, all_axes
from dit_core.ui.comparisons import Comparison, point_id
from dit_core.ui.components.elements import IN_URL
from dit_core.ui.pareto import budget, choices, pareto_page
from dit_core.ui.pareto.choices import Filters

TWO, OWN, MANY = "Time and memory", "Own axes", "Many axes"
HEIGHT = 440  # pixels
FIRST_AXES = (
    metrics.RELATIVE_TIME,
    metrics.WEIGHT_BYTES,
    metrics.PEAK_MEMORY,
    metrics.FLOPS,
    metrics.PRIMARY_QUALITY,
    metrics.CLASS_ACCURACY,
    metrics.PRIMARY_FIDELITY,
)
FEWEST_AXES = 2


@dataclass(frozen=True)
class Plots:
    """What all plots of the page show, and what they mark."""

    group: Comparison
    filters: Filters
    chosen: Stored | None
    answer: Stored | None
    limits: tuple[budget.Limit, ...]
    front_names: list[str] = field(default_factory=list)  # of the plots that were drawn, as sentences


def show(plots: Plots, quality: Axis | None) -> list[tuple[Axis, Axis]]:
    """Draw the plots of the chosen view, and the chosen run next to them; return the axes of every plot."""
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        views = [TWO, OWN, MANY] if quality else [OWN, MANY]
        options: dict[str, Any] = {
            "default": views[0],
            "key": "plots",
            "required": True,
            "label_visibility": "collapsed",
            **IN_URL,
        }
        view = st.segmented_control("Plots", views, **options) or views[0]
        whole = view != MANY and st.toggle(
            "Show all points",
            key="all",
            help="Plots are framed on the front and the baseline. Drag a box to zoom; a double click resets the plot.",
            **IN_URL,
        )
    if view == TWO and quality:
        return _two_plots(plots, quality, whole)
    place, panel = st.columns([5, 3], gap="medium") if plots.chosen else (st.container(), None)
    axes = all_axes(plots.group.runs)
    with place:
        drawn = _many_axes(plots, axes) if view == MANY else _own_axes(plots, axes, quality, whole)
    _panel(plots.chosen, panel)
    return drawn


def _two_plots(plots: Plots, quality: Axis, whole: bool) -> list[tuple[Axis, Axis]]:
    """Draw quality against time and against memory."""
    columns = st.columns(3 if plots.chosen else 2, gap="medium")
    drawn = []
    for column, axis_group in zip(columns, ("time", "memory"), strict=False):
        with column:
            if cost := choices.choose_cost(axis_group, plots.group.runs):
                _plot(plots, cost, quality, whole)
                drawn.append((cost, quality))
    _panel(plots.chosen, columns[-1])
    return drawn


def _own_axes(plots: Plots, axes: dict[str, Axis], quality: Axis | None, whole: bool) -> list[tuple[Axis, Axis]]:
    """Draw any metric against any other one."""
    left, right = st.columns(2)
    titles = list(axes)
    y_index = titles.index(quality.title) if quality else min(1, len(titles) - 1)
    x = axes[left.selectbox("Horizontal axis", titles, 0, key="x", **IN_URL)]
    y = axes[right.selectbox("Vertical axis", titles, y_index, key="y", **IN_URL)]
    _plot(plots, x, y, whole)
    return [(x, y)]


def _many_axes(plots: Plots, axes: dict[str, Axis]) -> list[tuple[Axis, Axis]]:
    """Draw all runs as lines over parallel axes."""
    first = [title for title, axis in axes.items() if axis.metric in FIRST_AXES]
    titles = st.multiselect("Axes", list(axes), first, key="axes", placeholder="Choose axes", **IN_URL)
    if len(titles) < FEWEST_AXES:
        st.info(f"Choose at least {FEWEST_AXES} axes.")
        return []
    chosen = point_id(plots.chosen) if plots.chosen else None
    drawn = _parallel(data.Runs.of(plots.filters.runs), tuple(axes[title] for title in titles), chosen)
    if drawn is None:
        st.info("No run has a value on all these axes.")
        return []
    figure, alt, count = drawn
    pareto_page.chart(figure, "plot-parallel", alt, pareto_page.choose)
    missing = len(plots.filters.runs) - count
    runs_are = "1 run is" if missing == 1 else f"{missing} runs are"
    left_out = f" {runs_are} left out, without one of these values." if missing else ""
    st.caption(
        "Every line is a run; further up is better on every axis. Solid lines are runs that no other run beats on all "
        f"of these axes.{left_out}"
    )
    return []


def _plot(plots: Plots, x: Axis, y: Axis, whole: bool) -> None:
    names = pareto_page.plot(
        plots.filters.runs,
        x,
        y,
        chosen=plots.chosen,
        answer=plots.answer,
        hide_dominated=plots.filters.hide_dominated,
        height=HEIGHT,
        limits=plots.limits,
        reported=plots.filters.show_published,
        whole=whole,
    )
    plots.front_names.append(names)


def _panel(chosen: Stored | None, place: DeltaGenerator | None) -> None:
    if chosen and place:
        with place:
            pareto_page.panel(chosen)


@lru_cache(maxsize=16)
def _parallel(runs: data.Runs, axes: tuple[Axis, ...], chosen: str | None) -> tuple[Figure, str, int] | None:
    """Return the figure, its alternative text and the number of its lines; None if no run has all values."""
    lines = parallel.lines_of(runs.records, axes)
    if not lines:
        return None
    figure = parallel.parallel_figure(lines, axes, chosen, HEIGHT)
    return Figure(figure), parallel.description(lines, axes), len(lines)
