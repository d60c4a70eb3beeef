"""What the Pareto page compares: one machine and workload, axes, and which runs of it. Every choice is in the URL."""

from collections.abc import Sequence
from typing import Any

import streamlit as st

from dit_core.store import Stored
from dit_core.ui import components, words
from dit_core.ui.axes import Axis, cost_axes, quality_axes
from dit_core.ui.points import Comparison, spec_of

URL: dict[str, Any] = {"bind": "query-params"}
APART = "Figures of different machines, sampler settings or seeds do not belong on one plot."


def choose_group(groups: Sequence[Comparison], shown: Stored | None, workload: Any) -> Comparison:
    """One machine and one workload on it; at first those of the chosen point, else of the largest group.

    The workload, which takes a long line to tell, is drawn into the place of that name.
    """
    home = next((group for group in groups if shown in group.runs), groups[0])
    machines = list(dict.fromkeys(group.environment for group in groups))
    machine = st.selectbox("Machine", machines, machines.index(home.environment), key="machine", help=APART, **URL)
    there = {group.workload: group for group in groups if group.environment == machine}
    start = list(there).index(home.workload) if home.workload in there else 0
    return there[workload.selectbox("Workload", there, start, key="of", help=APART, **URL)]


def show_group(group: Comparison) -> None:
    """Choose the machine and the workload of a comparison, in a click's callback."""
    st.session_state["machine"], st.session_state["of"] = group.environment, group.workload


def choose_quality(runs: Sequence[Stored]) -> Axis | None:
    """The quality axis; None where nothing was judged."""
    axes = quality_axes(runs)
    return axes[st.selectbox("Quality", list(axes), key="quality", **URL)] if axes else None


def choose_cost(keys: Sequence[str], runs: Sequence[Stored], name: str) -> Axis | None:
    """The cost axis of one plot; None where no run has such a figure."""
    axes = cost_axes(keys, runs)
    if not axes:
        return None
    titles = list(axes)
    shared: dict[str, Any] = {"required": True, "label_visibility": "collapsed", **URL}
    title = st.segmented_control(f"Quality against {name}", titles, default=titles[0], key=name, **shared)
    return axes[title or titles[0]]


def choose_runs(runs: Sequence[Stored]) -> tuple[list[Stored], bool, bool]:
    """Filters: families, techniques, where it was measured; whether dominated points are hidden, published ones shown.

    Where techniques are chosen, a run needs one of them; the baseline has none and stays.
    """
    families = sorted({family(one) for one in runs}, key=words.family_order)
    origins = sorted({origin(one) for one in runs})
    every = sorted({name for one in runs for name in _techniques(one)}, key=words.technique_title)
    picked = _pills("Families", families, "families")
    left, right = st.columns([2, 3], vertical_alignment="center")
    shared: dict[str, Any] = {"label_visibility": "collapsed", "placeholder": "All techniques", **URL}
    wanted = left.multiselect("Techniques", every, key="techniques", format_func=words.technique_title, **shared)
    with right.container(horizontal=True, vertical_alignment="center", gap="medium"):
        measured = _pills("Measured", origins, "measured")
        hide = st.toggle("Hide dominated points", key="hide", **URL)
        reported = st.toggle("Published figures", key="reported", help="Of papers, as far as they fit an axis.", **URL)
    kept = [one for one in runs if family(one) in picked and origin(one) in measured]
    left_out = set(every) - set(wanted) if wanted else set()
    return [one for one in kept if not _techniques(one) or _techniques(one) - left_out], hide, reported


def family(one: Stored) -> str:
    """As the legend names it."""
    return words.family(spec_of(one))


def origin(one: Stored) -> str:
    """As its badge says it."""
    return components.BADGES[one.origin][0]


def _techniques(one: Stored) -> set[str]:
    return {entry["name"] for entry in spec_of(one).techniques}


def _pills(label: str, options: list[str], key: str) -> list[str]:
    if len(options) < 2:
        return options
    shared: dict[str, Any] = {"selection_mode": "multi", "label_visibility": "collapsed", **URL}
    return st.pills(label, options, default=options, key=key, **shared)
