"""Measure the fronts here: the runs of the fronts on show, where their records come from another environment."""

from collections.abc import Sequence

import streamlit as st

from dit_core.search import known
from dit_core.search.plan import plan
from dit_core.spec import RunSpec
from dit_core.store import Stored
from dit_core.ui import choices, dots, here, points, reads, sweeps, words
from dit_core.ui.axes import Axis
from dit_core.ui.points import Comparison


def offer(group: Comparison, runs: Sequence[Stored], costs: Sequence[Axis], quality: Axis) -> None:
    """Nothing where the fronts were measured in this environment, or where this machine has no such device."""
    record = group.runs[0].record
    device = record.environment["device"]
    if device not in reads.devices() or known.fingerprint(device) in (None, record.environment["fingerprint"]):
        return
    specs = leading(runs, costs, quality)
    if not specs:
        return
    wanted = list({spec.run_id: spec for spec in [specs[0].baseline, *specs]}.values())
    found = plan(wanted, reads.loaded().records, sweeps.waiting())
    with st.container(border=True, key="fronts-here", gap="small"):
        st.markdown(f"**These fronts are from {here.whence(record)}. Here is {here.instead(record)}.**")
        told = [f"The fronts above and their baseline are {len(wanted)} runs."]
        if found.known:
            told.append(f"{_are(len(found.known))} known here.")
        if found.waiting:
            told.append(f"{_are(len(found.waiting))} in a sweep already.")
        if found.todo:
            left, took = f"{_are(len(found.todo))} not known here yet", sweeps.expected(found.todo)
            told.append(f"{left}{f': {took}' if took else ''}. They stand behind everybody's single runs.")
        elif not found.waiting:
            told.append("Nothing is left to measure.")
        st.caption(" ".join(told))
        for reason, names in _refused(found.refused, wanted).items():
            st.caption(f":material/block: {names}: {reason}")
        with st.container(horizontal=True, vertical_alignment="center"):
            if found.todo:
                label, icon = "Measure the fronts here", ":material/playlist_play:"
                st.button(label, key="sweep-fronts", icon=icon, on_click=sweeps.submit, args=(found.todo,))
            _link(list(found.known.values()))


def leading(runs: Sequence[Stored], costs: Sequence[Axis], quality: Axis) -> list[RunSpec]:
    """The runs that lead on at least one of the plots, each once."""
    found: dict[str, RunSpec] = {}
    for cost in costs:
        placed = dots.plotted(runs, cost, quality)
        at = [(cost.read(one.record) or 0.0, quality.read(one.record) or 0.0) for one in placed]
        found |= {placed[i].record.run_id: points.spec_of(placed[i]) for i in points.front(at, cost, quality)}
    return list(found.values())


def _refused(reasons: dict[str, str], specs: Sequence[RunSpec]) -> dict[str, str]:
    """Each reason with the runs that it keeps from being measured here."""
    titles = dict(zip([spec.run_id for spec in specs], words.brief_titles(list(specs)), strict=True))
    told: dict[str, list[str]] = {}
    for run_id, reason in reasons.items():
        told.setdefault(reason, []).append(titles[run_id])
    return {reason: "; ".join(names) for reason, names in told.items()}


def _are(count: int) -> str:
    return f"{count} {'is' if count == 1 else 'are'}"


def _link(there: Sequence[Stored]) -> None:
    """The way to the fronts of this environment, as far as they are known."""
    group = next((group for group in reads.groups() if there and there[0] in group.runs), None)
    if group:
        icon = ":material/show_chart:"
        shared = {"type": "tertiary", "icon": icon, "on_click": choices.show_group, "args": (group,)}
        st.button("See the fronts of this machine", key="fronts-of-here", **shared)
