"""A sweep that measures the runs of the fronts on this machine, if their records come from another environment."""

from collections.abc import Sequence

import streamlit as st

from dit_core.experiment import known
from dit_core.records.spec import RunSpec
from dit_core.records.store import Stored
from dit_core.sweeps.plan import Plan, plan
from dit_core.ui import comparisons, data, format, provenance
from dit_core.ui.charts.axes import Axis
from dit_core.ui.charts.front import front_runs
from dit_core.ui.comparisons import Comparison
from dit_core.ui.components import sweeps
from dit_core.ui.pareto import choices


def offer(group: Comparison, runs: Sequence[Stored], costs: Sequence[Axis], quality: Axis) -> None:
    """Draw a button that measures the fronts on this machine.

    Draws nothing if the fronts were measured in this environment or if this machine lacks the device.
    """
    record = group.runs[0].record
    device = record.environment["device"]
    if device not in data.devices() or known.fingerprint(device) in (None, record.environment["fingerprint"]):
        return
    specs = front_specs(runs, costs, quality)
    if not specs:
        return
    with_baseline = list({spec.run_id: spec for spec in [specs[0].baseline, *specs]}.values())
    planned = plan(with_baseline, data.loaded().records, sweeps.waiting())
    with st.container(border=True, key="fronts-here", gap="small"):
        here = provenance.counterpart(record)
        st.markdown(f"**These fronts were measured on {provenance.source(record)}. This machine: {here}.**")
        st.caption(_summary(planned, len(with_baseline)))
        for reason, titles in _refused(planned.refused, with_baseline).items():
            st.caption(f":material/block: {titles}: {reason}")
        with st.container(horizontal=True, vertical_alignment="center"):
            if planned.todo:
                label, icon = "Measure the fronts here", ":material/playlist_play:"
                st.button(label, key="sweep-fronts", icon=icon, on_click=sweeps.submit, args=(planned.todo,))
            _link_to_fronts(list(planned.known.values()))


def front_specs(runs: Sequence[Stored], costs: Sequence[Axis], quality: Axis) -> list[RunSpec]:
    """Return the specs of the runs that are on the front of at least one plot."""
    specs: dict[str, RunSpec] = {}
    for cost in costs:
        specs |= {run.record.run_id: comparisons.spec_of(run) for run in front_runs(runs, cost, quality)}
    return list(specs.values())


def _summary(planned: Plan, count: int) -> str:
    """Return how many runs the fronts have and how many of them are measured, queued or missing."""
    sentences = [f"The fronts and their baseline are {count} run{'s' * (count != 1)}."]
    if planned.known:
        sentences.append(f"{_are(len(planned.known))} already measured here.")
    if planned.waiting:
        sentences.append(f"{_are(len(planned.waiting))} already in a sweep.")
    if planned.todo:
        duration = sweeps.expected(planned.todo)
        missing = f"{_are(len(planned.todo))} not measured here yet{f': {duration}' if duration else ''}."
        sentences.append(f"{missing} Single runs go first.")
    elif not planned.waiting:
        sentences.append("Nothing is left to measure.")
    return " ".join(sentences)


def _refused(reasons: dict[str, str], specs: Sequence[RunSpec]) -> dict[str, str]:
    """Return the titles of the runs that cannot run here, by reason."""
    titles = dict(zip([spec.run_id for spec in specs], format.brief_titles(list(specs)), strict=True))
    by_reason: dict[str, list[str]] = {}
    for run_id, reason in reasons.items():
        by_reason.setdefault(reason, []).append(titles[run_id])
    return {reason: "; ".join(names) for reason, names in by_reason.items()}


def _are(count: int) -> str:
    return f"{count} {'is' if count == 1 else 'are'}"


def _link_to_fronts(known_here: Sequence[Stored]) -> None:
    """Draw a button that shows the fronts measured on this machine, if there are any."""
    group = next((group for group in data.groups() if known_here and known_here[0] in group.runs), None)
    if group:
        icon = ":material/show_chart:"
        shared = {"type": "tertiary", "icon": icon, "on_click": choices.show_group, "args": (group,)}
        st.button("Show the fronts of this machine", key="fronts-of-here", **shared)
