"""Parts of the Pareto page: what to compare, the plots, the choice of a point, the table. The view lives in the URL."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import pandas as pd
import streamlit as st
from plotly.graph_objects import Figure

from dit_core.store import Stored
from dit_core.ui import budget, charts, compare, dots, form, published, reads, result, words
from dit_core.ui.axes import COSTS, Axis, Read, scaled
from dit_core.ui.choices import family, origin
from dit_core.ui.points import Comparison, coverage, point_id, spec_of

QUICKEST, ENERGY = COSTS["relative_time"], COSTS["energy"]
COLUMNS: dict[str, tuple[Read, str]] = {  # of the table: how each is read and written
    "Relative time, %": (QUICKEST.read, "%.3g"),
    "Speed-up": (COSTS["speedup"].read, "×%.2f"),
    "From": (scaled("speedup", "low"), "×%.2f"),
    "To": (scaled("speedup", "high"), "×%.2f"),
    "Weights, MB": (COSTS["weights"].read, "%.2f"),
    "Peak, MB": (COSTS["memory"].read, "%.1f"),
    "GFLOP": (COSTS["flops"].read, "%.4g"),
    "Energy, J": (COSTS["energy"].read, "%.3g"),
    "Distance": (scaled("quality", "distance"), "%.1f"),
    "FD-infinity": (scaled("quality", "distance_infinity"), "%.1f"),
    "KID": (scaled("quality", "kid"), "%.4f"),
    "Precision, %": (scaled("quality", "precision", 100), "%.1f"),
    "Recall, %": (scaled("quality", "recall", 100), "%.1f"),
    "Class accuracy, %": (scaled("quality", "class_accuracy", 100), "%.1f"),
    "Judged": (scaled("quality", "count"), "%d"),
    "PSNR, dB": (scaled("fidelity", "psnr_db"), "%.1f"),
    "SSIM": (scaled("fidelity", "ssim"), "%.3f"),
    "Feature cosine": (scaled("fidelity", "feature_cosine"), "%.3f"),
    "Latency, ms": (COSTS["latency"].read, "%.3g"),
}
FID_AXES = ("fid", "sfid", "inception_score")


def chosen() -> Stored | None:
    """The record whose samples are shown."""
    return reads.find(st.query_params.get("run", ""))


def plot(
    runs: Sequence[Stored],
    x: Axis,
    y: Axis,
    *,
    chosen: Stored | None = None,
    answer: Stored | None = None,
    hide_dominated: bool = False,
    height: int = 440,
    limits: Sequence[budget.Limit] = (),
    reported: bool = False,
    name_front: bool = False,
    on_point: Callable[[str], None] | None = None,
) -> None:
    """One Pareto plot whose points can be clicked; a click chooses the point unless `on_point` does something else.

    Not every point of the front has room for its label: `name_front` lists them below.
    """
    rings = (point_id(chosen) if chosen else None, point_id(answer) if answer else None)
    bounds = tuple((limit.axis.key, limit.value) for limit in limits)
    drawn = _drawn(_Plot(reads.Runs.of(runs), x.key, y.key, rings, hide_dominated, height, bounds, reported, x, y))
    if drawn is None:
        st.info(f"No run here has both {x.title.lower()} and {y.title}.")
        return
    figure, told, front = drawn
    st.plotly_chart(
        figure,
        key=f"plot-{x.key}",
        config=charts.CONFIG,
        on_select=lambda: _clicked(f"plot-{x.key}", on_point or choose),
        selection_mode="points",
        alt=told,
    )
    if name_front:
        st.caption(front)
    if x.caution:
        st.caption(x.caution)


def hypervolume(group: Comparison, runs: Sequence[Stored], x: Axis, y: Axis) -> None:
    """How much the runs of a plot cover, as one figure, with its reference point and what it means."""
    baseline = next((one for one in group.runs if not spec_of(one).techniques), None)
    covered = coverage(runs, baseline, x, y) if baseline else None
    if covered:
        volume, at = covered
        point = " and ".join(f"{axis.name} {axis.text(value)}" for axis, value in zip((x, y), at, strict=True))
        st.caption(
            f"Hypervolume {volume:.2f}: the area between this front and the reference point ({point}), where the "
            "baseline alone covers 1. A front that offers better choices covers more."
        )


def notes(
    group: Comparison, runs: Sequence[Stored], costs: Sequence[Axis], quality: Axis, groups: Sequence[Comparison]
) -> None:
    """What the plots are made of, and how many runs they leave out."""
    left_out = []
    shown = {point_id(one) for axis in costs for one in dots.plotted(runs, axis, quality)}
    for count, why in (
        (len(runs) - len(shown), f"without {quality.title}"),
        (len(group.runs) - len(runs), "filtered out"),
        (group.earlier, "measured again since"),
        (sum(len(other.runs) for other in groups) - len(group.runs), "of other workloads or machines"),
    ):
        if count:
            left_out.append(f"{count} {why}")
    bars = dict.fromkeys(axis.bars for axis in (*costs, quality) if axis.bars)
    kind = "fid_flag" if quality.key.split()[0] in FID_AXES else "flag"
    told = [
        f"Measured on {words.environment(group.runs[0].record)}.",
        f"Workload: {group.workload}.",
        f"Bars: {', '.join(bars)}." if bars else "",
        f"Of {len(runs):,} runs each plot draws the {dots.MOST} nearest to its front." if len(runs) > dots.MOST else "",
        words.small_sample([one.record for one in runs], kind),
        _without_energy(group.runs),
        f"Not on these plots: {', '.join(left_out)}." if left_out else "",
    ]
    st.caption(" ".join(filter(None, told)))


@st.fragment
def table(runs: Sequence[Stored]) -> None:
    """All runs of the comparison as rows, the quickest first: one can be shown, several can be compared."""
    ordered = sorted(runs, key=lambda one: QUICKEST.read(one.record) or float("inf"))
    rows = st.session_state.get("table", {}).get("selection", {}).get("rows", [])
    _selected([ordered[i] for i in rows if i < len(ordered)])
    number = st.column_config.NumberColumn
    st.dataframe(
        _frame(reads.Runs.of(ordered)),
        key="table",
        hide_index=True,
        on_select="rerun",
        selection_mode="multi-row",
        column_config={
            "Run": st.column_config.TextColumn(width=420, pinned=True),
            **{name: number(format=shape) for name, (_, shape) in COLUMNS.items()},
            "When": st.column_config.DatetimeColumn(format="D MMM YYYY"),
        },
        alt="Runs of this comparison with their figures",
    )


def take_table(runs: Sequence[Stored]) -> None:
    """All rows and columns as a file, with the id of each run."""
    st.download_button(
        "Table (CSV)",
        lambda: _csv(runs),
        "runs.csv",
        "text/csv",
        on_click="ignore",
        icon=":material/download:",
        key="take-csv",
    )


def panel(shown: Stored) -> None:
    """The chosen run, its samples first, with what can be done: make it here, or put it away."""
    with st.container(border=True, key="samples"):
        result.show(shown, lambda: st.space("stretch"), lambda: _panel_links(shown), samples_first=True)


def _without_energy(runs: Sequence[Stored]) -> str:
    """Why no plot has energy, where no run has it."""
    if any(ENERGY.read(one.record) is not None for one in runs):
        return ""
    reason = next((reason for one in runs if (reason := one.record.energy.get("reason"))), "it was not measured")
    return f"No energy: {reason}."


@dataclass(frozen=True)
class _Plot:
    """What a plot shows. Two are equal where they look the same, so that one is drawn once for all visitors."""

    runs: reads.Runs
    x_key: str
    y_key: str
    rings: tuple[str | None, str | None]
    hide: bool
    height: int
    limits: tuple[tuple[str, float], ...]
    reported: bool
    x: Axis = field(compare=False)
    y: Axis = field(compare=False)


@lru_cache(maxsize=32)
def _drawn(plot: _Plot) -> tuple[Figure, str, str] | None:
    """The figure, its sentence and the names of its front; None where no run has both figures."""
    placed, limits = dots.dots_of(plot.runs.every, plot.x, plot.y), dict(plot.limits)
    if not placed:
        return None
    chosen, answer = plot.rings
    shown = {"chosen": chosen, "answer": answer, "hide_dominated": plot.hide, "height": plot.height, "limits": limits}
    figure = Figure(charts.pareto(placed, plot.x, plot.y, **shown))
    if plot.reported:
        published.draw(figure, plot.x, plot.y, placed[0].record.environment["device"])
    return figure, dots.describe(placed, plot.x, plot.y), dots.front_names(placed, plot.x)


def _panel_links(shown: Stored) -> None:
    if query := form.address(spec_of(shown)):
        link = "../../pages/run_live.py"
        st.page_link(link, label="Open in Run live", icon=":material/play_arrow:", query_params=query)
    if base := reads.baseline_of(shown):
        compare.link([base, shown], "Compare")
    st.button("Close", key="close", type="tertiary", icon=":material/close:", on_click=lambda: choose(None))


@lru_cache(maxsize=8)
def _frame(runs: reads.Runs) -> pd.DataFrame:
    titles = words.brief_titles([spec_of(one) for one in runs.every])
    frame = pd.DataFrame([{"Run": title, **_row(one)} for title, one in zip(titles, runs.every, strict=True)])
    frame = frame.dropna(axis="columns", how="all")
    frame["When"] = pd.to_datetime(frame["When"], errors="coerce", format="ISO8601", utc=True)
    return frame


def _csv(runs: Sequence[Stored]) -> bytes:
    rows = [{"Id": point_id(one), "Recipe": words.title(spec_of(one)), **_row(one)} for one in runs]
    return pd.DataFrame(rows).to_csv(index=False).encode()


def _row(one: Stored) -> dict[str, Any]:
    return {
        "Family": family(one),
        **{name: read(one.record) for name, (read, _) in COLUMNS.items()},
        "Measured": origin(one),
        "Hardware": words.hardware(one.record.environment),
        "When": one.record.created_at,
    }


def _clicked(key: str, on_point: Callable[[str], None]) -> None:
    points = st.session_state[key]["selection"]["points"]
    if points and (data := points[0].get("customdata")):
        on_point(str(data[0]))


def _selected(runs: list[Stored]) -> None:
    """What can be done with the selected rows, in a line that stays where it is."""
    with st.container(horizontal=True, vertical_alignment="center", height=40, border=False):
        if len(runs) == 1 and st.button("Show its samples", key="show", icon=":material/image:", type="tertiary"):
            choose(point_id(runs[0]))
            st.rerun()
        elif compare.FEWEST <= len(runs) <= compare.MOST:
            compare.link(runs, f"Compare these {len(runs)} runs")
        elif len(runs) != 1:
            st.caption(f"Select a row to see its samples, or {compare.FEWEST} to {compare.MOST} rows to compare them.")


def choose(identifier: str | None) -> None:
    """Show the samples of this point, or of none."""
    if identifier is None:
        st.query_params.pop("run", None)
    else:
        st.query_params["run"] = identifier
