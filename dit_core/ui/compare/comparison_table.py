"""The metrics of several runs as a table with the best values marked. Its rows follow from the table of metrics."""

from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st

from dit_core.records import metrics
from dit_core.records.paired import paired
from dit_core.records.store import Stored
from dit_core.ui import distance_notes, format
from dit_core.ui.charts.axes import Axis, cost_axes, differs, quality_axes
from dit_core.ui.comparisons import spec_of
from dit_core.ui.components import elements

LOWER, HIGHER = "↓", "↑"


@dataclass(frozen=True)
class Row:
    """One metric of every run: texts of the values, and the indices of the runs with the best value."""

    title: str
    texts: tuple[str, ...]
    best: frozenset[int]


def table(runs: Sequence[Stored], titles: Sequence[str]) -> None:
    """Draw metrics as rows and runs as columns, with the best values marked."""
    shown = rows(runs)
    columns = {"Metric": [row.title for row in shown]}
    for i, title in enumerate(titles):
        columns[_heading(runs[i], title)] = [
            f"**{row.texts[i]} ✓**" if i in row.best else row.texts[i] for row in shown
        ]
    _origins(runs, titles)
    st.table(columns, border="horizontal", hide_index=True, alt=f"Metrics of {', '.join(titles)}")
    records = [run.record for run in runs]
    for note in filter(None, (distance_notes.distances(records), distance_notes.small_sample(records))):
        st.caption(note)
    if judged := _paired_verdicts(runs, titles):
        st.caption(judged)
    st.caption(
        f"{LOWER} lower is better, {HIGHER} higher is better. ✓ marks the best value and all values whose intervals "
        "overlap with it. Nothing is marked if all values are alike, or if a quality metric has no interval."
    )


def _paired_verdicts(runs: Sequence[Stored], titles: Sequence[str]) -> str:
    """Return the verdicts of pairs with the baseline in a sentence; empty if no run was judged in pairs."""
    verdicts = [(title, pair.verdict) for run, title in zip(runs, titles, strict=True) if (pair := paired(run.record))]
    if not verdicts:
        return ""
    said = "; ".join(f"{title}: {verdict}" for title, verdict in verdicts)
    return f"Distance compared with the baseline's on the same seeds, which decides where intervals overlap: {said}."


def _heading(run: Stored, title: str) -> str:
    """Return the heading of a run's column, with a badge if the run was not retrained."""
    label, colour, _ = elements.NOT_RETRAINED
    return f"{title} :{colour}-badge[{label}]" if format.training(spec_of(run)) == label else title


def rows(runs: Sequence[Stored]) -> list[Row]:
    """Return the metrics that at least one run has a value for."""
    costs = cost_axes("time", runs) | cost_axes("memory", runs)
    order = {metric.name: i for i, metric in enumerate(metrics.METRICS)}
    in_order = sorted(costs.values(), key=lambda axis: order[axis.metric.name])
    return [_row(axis, runs) for axis in (*in_order, *quality_axes(runs).values())]


def _row(axis: Axis, runs: Sequence[Stored]) -> Row:
    values = [axis.read(run.record) for run in runs]
    measured = {
        i: (value, axis.interval(run.record))
        for i, (value, run) in enumerate(zip(values, runs, strict=True))
        if value is not None
    }
    first = measured[next(i for i in measured if values[i] == axis.best([value for value, _ in measured.values()]))]
    best = frozenset(i for i, own in measured.items() if not differs(axis.metric, own, first))
    is_quality = axis.metric.axis in ("quality", "fidelity")
    undecided = is_quality and any(interval is None for _, interval in measured.values())
    texts = tuple(format.UNKNOWN if value is None else format.significant(value) for value in values)
    arrow = LOWER if axis.lower_is_better else HIGHER
    title = f"{axis.heading}\u00a0{arrow}"  # the arrow stays on the line of the last word
    return Row(title, texts, frozenset() if undecided or len(best) == len(measured) else best)


def _origins(runs: Sequence[Stored], titles: Sequence[str]) -> None:
    """Draw where the runs were measured: one badge for all of them, or one next to each title."""
    alike = len({run.origin for run in runs}) == 1
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        for run, title in list(zip(runs, titles, strict=True))[: 1 if alike else None]:
            st.markdown("All of these runs" if alike else title, width="content")
            elements.origin_badge(run)
        elements.place_badge(runs[0].record)
