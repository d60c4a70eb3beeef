"""The table of runs below the Pareto plots, and its download. Its columns follow from the table of metrics."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import pandas as pd
import streamlit as st

from dit_core.records import metrics, own_metrics
from dit_core.records.metric import Metric
from dit_core.records.own_metrics import OwnMetric
from dit_core.records.record import RunRecord
from dit_core.records.store import Stored
from dit_core.ui import data, format, notes
from dit_core.ui.charts import front
from dit_core.ui.charts.axes import Axis
from dit_core.ui.compare import compare_page
from dit_core.ui.comparisons import point_id, spec_of
from dit_core.ui.components.elements import IN_URL
from dit_core.ui.pareto.choices import family, origin
from dit_core.ui.pareto.pareto_page import choose

FASTEST = Axis(metrics.PRIMARY_COST)
Front = tuple[Axis, Axis]  # cost and quality


@st.fragment
def table(runs: Sequence[Stored], fronts: Sequence[Front] = ()) -> None:
    """Draw all runs as rows, the fastest first: one can be shown, several can be compared.

    `fronts` are the axes of the plots: a column has the share of draws in which a run is on each front.
    """
    written = notes.read()
    pinned = {identifier for identifier, note in written.items() if note.pinned}
    ordered = sorted(runs, key=lambda run: (point_id(run) not in pinned, FASTEST.read(run.record) or float("inf")))
    rows = st.session_state.get("table", {}).get("selection", {}).get("rows", [])
    with st.container(horizontal=True, vertical_alignment="center"):
        _actions([ordered[i] for i in rows if i < len(ordered)])
        st.space("stretch")
        with st.popover("Columns", icon=":material/view_column:", type="tertiary"):
            columns = _choose_columns(ordered)
    number = st.column_config.NumberColumn
    titled = {title: metric for metric in columns for title in _titles(metric)}
    st.dataframe(
        _frame(data.Runs.of(ordered), columns, tuple(fronts), tuple(written.items())),
        key="table",
        hide_index=True,
        on_select="rerun",
        selection_mode="multi-row",
        column_config={
            "Run": st.column_config.TextColumn(width=420, pinned=True),
            **{
                title: number(format=metric.column_format, help=metric.help or None) for title, metric in titled.items()
            },
            **{_front_title(x): number(format="%.0f") for x, _ in fronts},
            "When": st.column_config.DatetimeColumn(format="D MMM YYYY"),
        },
        alt="Runs of this comparison with their metrics",
    )


def download(runs: Sequence[Stored], fronts: Sequence[Front] = ()) -> None:
    """Draw the download of all rows and columns, with the id of each run and the ends of every interval."""
    st.download_button(
        "Table (CSV)",
        lambda: csv(runs, fronts),
        "runs.csv",
        "text/csv",
        on_click="ignore",
        icon=":material/download:",
        key="take-csv",
    )


def csv(runs: Sequence[Stored], fronts: Sequence[Front] = ()) -> bytes:
    """Return the table as CSV, with the ends of every interval, and what is needed to repeat each run.

    Columns for that: id, seed, environment, command, and the whole spec as JSON. Next to a distance, to FID and to own
    metrics are the method, N and the reference.
    """
    shares, columns = _shares(runs, fronts), _columns(runs)
    explained = [metric for metric in columns if metric in metrics.FRECHET or isinstance(metric, OwnMetric)]
    rows = [
        {
            "Id": point_id(run),
            "Recipe": format.title(spec_of(run)),
            **_row(run, columns, all_intervals=True),
            **{f"{metric.column}, measured as": _measured_as(metric, run.record) for metric in explained},
            **shares[point_id(run)],
            "Seed": spec_of(run).seed,
            "Environment": run.record.environment["fingerprint"],
            "Command": spec_of(run).command(),
            "Spec": spec_of(run).to_json(),
        }
        for run in runs
    ]
    return pd.DataFrame(rows).to_csv(index=False).encode()


def _measured_as(metric: Metric, record: RunRecord) -> str | None:
    """Return the method of a value with what the metric is; None if the record has no value."""
    if metric.read(record) is None:
        return None
    return f"{metric.method(record)}. {metric.explained(record)}"


def _front_title(x: Axis) -> str:
    return f"On the front by {x.name}, % of draws"


def _shares(runs: Sequence[Stored], fronts: Sequence[Front]) -> dict[str, dict[str, float | None]]:
    """Return the percentage of draws in which each run is on each front, by point id and column."""
    columns = {_front_title(x): front.shares(runs, x, y) for x, y in fronts}
    return {
        identifier: {
            title: None if (share := shares.get(identifier)) is None else 100 * share
            for title, shares in columns.items()
        }
        for identifier in map(point_id, runs)
    }


def _choose_columns(runs: Sequence[Stored]) -> tuple[Metric, ...]:
    """Draw the choice of the metrics that are columns, in the page's link; the usual ones at first."""
    usual = _columns(runs)
    known = {
        metric.title: metric
        for metric in [*metrics.METRICS, *(metric for metric in usual if isinstance(metric, OwnMetric))]
        if metric.title and any(metric.read(run.record) is not None for run in runs)
    }
    default = [metric.title for metric in usual if metric.title in known]
    shared: dict[str, Any] = {"key": "columns", "wrap": True, **IN_URL}
    titles = st.pills("Metrics in the table", list(known), default=default, selection_mode="multi", **shared)
    return tuple(known[title] for title in known if title in titles)


def _columns(runs: Sequence[Stored]) -> list[Metric]:
    own = own_metrics.of(run.record for run in runs)
    return [*(metric for metric in metrics.METRICS if metric.column), *own]


def _titles(metric: Metric, *, all_intervals: bool = False) -> tuple[str, ...]:
    """Return the titles of the column of a metric and of the columns with the ends of its interval."""
    ends = metric.interval_columns or ()
    title = metric.column or (f"{metric.title}, {metric.unit}" if metric.unit else metric.title)
    if all_intervals and not ends and metric.intervals:
        ends = (f"{title}, low", f"{title}, high")
    return (title, *ends)


@lru_cache(maxsize=8)
def _frame(
    runs: data.Runs, columns: tuple[Metric, ...], fronts: tuple[Front, ...], written: tuple[tuple[str, notes.Note], ...]
) -> pd.DataFrame:
    by_id = dict(written)
    titles, shares = format.brief_titles([spec_of(run) for run in runs.records]), _shares(runs.records, fronts)
    rows = [
        {"Run": title, **_note(by_id.get(point_id(run))), **_row(run, columns), **shares[point_id(run)]}
        for title, run in zip(titles, runs.records, strict=True)
    ]
    frame = pd.DataFrame(rows).dropna(axis="columns", how="all")
    words = frame.columns.intersection(["Name", "Note", "Training"])
    frame[words] = frame[words].fillna("")
    frame["When"] = pd.to_datetime(frame["When"], errors="coerce", format="ISO8601", utc=True)
    return frame


def _row(run: Stored, columns: Sequence[Metric], *, all_intervals: bool = False) -> dict[str, Any]:
    values: dict[str, float | None] = {}
    for metric in columns:
        ends = metric.scaled_interval(run.record) or (None, None)
        # A column without columns for its interval is paired with its value only.
        titles = _titles(metric, all_intervals=all_intervals)
        values |= dict(zip(titles, (metric.scaled(run.record), *ends), strict=False))
    return {
        "Family": family(run),
        "Training": format.training(spec_of(run)) or None,
        **values,
        "Measured": origin(run),
        "Hardware": format.hardware(run.record.environment),
        "When": run.record.created_at,
    }


def _note(note: notes.Note | None) -> dict[str, str | None]:
    """Return the columns of what people wrote about a run."""
    return {"Name": (note and note.name) or None, "Note": (note and note.text) or None}


def _actions(runs: Sequence[Stored]) -> None:
    """Draw what can be done with the selected rows, in a line of constant height."""
    with st.container(horizontal=True, vertical_alignment="center", height=40, border=False, width="content"):
        if len(runs) == 1 and st.button("Show samples", key="show", icon=":material/image:", type="tertiary"):
            choose(point_id(runs[0]))
            st.rerun()
        elif compare_page.FEWEST <= len(runs) <= compare_page.MOST:
            compare_page.link(runs, f"Compare these {len(runs)} runs")
        elif len(runs) != 1:
            st.caption(
                f"Select one row to see its samples, or {compare_page.FEWEST} to {compare_page.MOST} rows to compare "
                "them."
            )
