"""Choices of the Pareto page: machine, workload, axes and filters. Every choice is in the page's link."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import streamlit as st

from dit_core.records.metric import AxisGroup
from dit_core.records.record import RunRecord
from dit_core.records.store import Stored
from dit_core.ui import distance_notes, format
from dit_core.ui.charts.axes import Axis, cost_axes, quality_axes
from dit_core.ui.comparisons import Comparison, spec_of
from dit_core.ui.components import elements, ignored
from dit_core.ui.components.elements import IN_URL

NOT_COMPARABLE = (
    "Results from different machines, sampler settings or seeds are not comparable, so plots show one of each."
)


@dataclass(frozen=True)
class Filters:
    """The runs that pass the filters, and what the plots show of them."""

    runs: list[Stored]
    hide_dominated: bool
    show_published: bool


def choose_group(groups: Sequence[Comparison], chosen: Stored | None, workload: Any) -> Comparison:
    """Draw the choice of a machine and of a workload on it; return their runs.

    Starts with the group of the `chosen` run, else with the first. The workload has a long text and is drawn into the
    container `workload`.
    """
    start = next((group for group in groups if chosen in group.runs), groups[0])
    machines = list(dict.fromkeys(group.environment for group in groups))
    index = machines.index(start.environment)
    machine = st.selectbox("Machine", machines, index, key="machine", help=NOT_COMPARABLE, **IN_URL)
    by_workload = {group.workload: group for group in groups if group.environment == machine}
    index = list(by_workload).index(start.workload) if start.workload in by_workload else 0
    return by_workload[workload.selectbox("Workload", by_workload, index, key="of", help=NOT_COMPARABLE, **IN_URL)]


def show_group(group: Comparison) -> None:
    """Choose the machine and the workload of a group; for callbacks of buttons."""
    st.session_state["machine"], st.session_state["of"] = group.environment, group.workload


def choose_quality(runs: Sequence[Stored]) -> Axis | None:
    """Draw the choice of the quality axis; None if no run was judged."""
    axes = quality_axes(runs)
    if not axes:
        return None
    return axes[
        st.selectbox("Quality", list(axes), key="quality", help=distance_notes.distances(_records(runs)), **IN_URL)
    ]


def choose_cost(group: AxisGroup, runs: Sequence[Stored]) -> Axis | None:
    """Draw the choice of the cost axis of one plot; None if no run has a cost of this group."""
    axes = cost_axes(group, runs)
    if not axes:
        return None
    titles = list(axes)
    shared: dict[str, Any] = {"required": True, "label_visibility": "collapsed", **IN_URL}
    title = st.segmented_control(f"Quality against {group}", titles, default=titles[0], key=group, **shared)
    return axes[title or titles[0]]


def choose_runs(runs: Sequence[Stored]) -> Filters:
    """Draw the filters by family, technique and origin, and the options of the plots.

    If techniques are chosen, a run must use at least one of them; the baseline is always kept.
    """
    families = sorted({family(run) for run in runs}, key=format.family_order)
    origins = sorted({origin(run) for run in runs})
    techniques = sorted({name for run in runs for name in _techniques(run)}, key=format.technique_title)
    kept_families = _pills("Families", families, "families")
    left, right = st.columns([2, 3], vertical_alignment="center")
    shared: dict[str, Any] = {"label_visibility": "collapsed", "placeholder": "All techniques", **IN_URL}
    chosen = left.multiselect("Techniques", techniques, key="techniques", format_func=format.technique_title, **shared)
    ignored.told("techniques", *map(format.technique_title, chosen))
    with right.container(horizontal=True, vertical_alignment="center", gap="medium"):
        kept_origins = _pills("Origin", origins, "measured")
        hide = st.toggle("Hide dominated points", key="hide", **IN_URL)
        published = "Draws results of papers as lines where they fit an axis."
        show_published = st.toggle("Published results", key="reported", help=published, **IN_URL)
    kept = [run for run in runs if family(run) in kept_families and origin(run) in kept_origins]
    if chosen:
        kept = [run for run in kept if not _techniques(run) or _techniques(run) & set(chosen)]
    return Filters(kept, hide, show_published)


def family(run: Stored) -> str:
    """Return the family of a run as the legend names it."""
    return format.family(spec_of(run))


def origin(run: Stored) -> str:
    """Return the origin of a run as its badge names it."""
    return elements.BADGES[run.origin][0]


def _records(runs: Sequence[Stored]) -> list[RunRecord]:
    return [run.record for run in runs]


def _techniques(run: Stored) -> set[str]:
    return {entry["name"] for entry in spec_of(run).techniques}


def _pills(label: str, options: list[str], key: str) -> list[str]:
    """Draw a choice of several options, if there is more than one; return the chosen ones."""
    if len(options) < 2:
        return options
    shared: dict[str, Any] = {"selection_mode": "multi", "label_visibility": "collapsed", **IN_URL}
    return st.pills(label, options, default=options, key=key, **shared)
