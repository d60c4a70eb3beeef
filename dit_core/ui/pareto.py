"""Parts of the Pareto page: what to compare, the plots, the choice of a point, the table. The view lives in the URL."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import pandas as pd
import streamlit as st
from plotly.graph_objects import Figure

from dit_core.store import Stored
from dit_core.ui import budget, charts, compare, components, form, published, reads, result, words
from dit_core.ui.axes import COSTS, Axis, Read, cost_axes, quality_axes, scaled
from dit_core.ui.points import Comparison, point_id, spec_of

URL: dict[str, Any] = {"bind": "query-params"}
QUICKEST = COSTS["relative_time"]
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


def choose_group(groups: Sequence[Comparison], shown: Stored | None) -> Comparison:
    """One environment and one workload; at first that of the chosen point, else the largest."""
    titles = [group.title for group in groups]
    home = next((i for i, group in enumerate(groups) if shown in group.runs), 0)
    title = st.selectbox(
        "Compare within one workload on one machine",
        titles,
        home,
        key="within",
        help="Figures of different machines, sampler settings or seeds do not belong on one plot.",
        **URL,
    )
    return groups[titles.index(title)]


def choose_quality(runs: Sequence[Stored]) -> Axis | None:
    """The quality axis; None where nothing was judged."""
    axes = quality_axes(runs)
    return axes[st.selectbox("Quality", list(axes), key="quality", **URL)] if axes else None


def choose_runs(runs: Sequence[Stored]) -> tuple[list[Stored], bool, bool]:
    """Filters: families, where it was measured; whether dominated points are hidden, and published figures shown."""
    families = sorted({_family(one) for one in runs}, key=words.family_order)
    origins = sorted({_origin(one) for one in runs})
    picked = _pills("Families", families, "families")
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        measured = _pills("Measured", origins, "measured")
        hide = st.toggle("Hide dominated points", key="hide", **URL)
        reported = st.toggle("Published figures", key="reported", help="Of papers, as far as they fit an axis.", **URL)
    return [one for one in runs if _family(one) in picked and _origin(one) in measured], hide, reported


def choose_cost(keys: Sequence[str], runs: Sequence[Stored], name: str) -> Axis | None:
    """The cost axis of one plot; None where no run has such a figure."""
    axes = cost_axes(keys, runs)
    if not axes:
        return None
    titles = list(axes)
    shared: dict[str, Any] = {"required": True, "label_visibility": "collapsed", **URL}
    title = st.segmented_control(f"Quality against {name}", titles, default=titles[0], key=name, **shared)
    return axes[title or titles[0]]


def plot(
    runs: Sequence[Stored],
    x: Axis,
    y: Axis,
    *,
    chosen: Stored | None = None,
    hide_dominated: bool = False,
    height: int = 400,
    limits: Sequence[budget.Limit] = (),
    reported: bool = False,
    on_point: Callable[[str], None] | None = None,
) -> None:
    """One Pareto plot whose points can be clicked; a click chooses the point unless `on_point` does something else."""
    ring = point_id(chosen) if chosen else None
    bounds = tuple((limit.axis.key, limit.value) for limit in limits)
    drawn = _drawn(_Plot(reads.Runs.of(runs), x.key, y.key, ring, hide_dominated, height, bounds, reported, x, y))
    if drawn is None:
        st.info(f"No run here has both {x.title.lower()} and {y.title}.")
        return
    figure, told = drawn
    st.plotly_chart(
        figure,
        key=f"plot-{x.key}",
        config=charts.CONFIG,
        on_select=lambda: _clicked(f"plot-{x.key}", on_point or _choose),
        selection_mode="points",
        alt=told,
    )
    if x.caution:
        st.caption(x.caution)


def notes(
    group: Comparison, runs: Sequence[Stored], costs: Sequence[Axis], quality: Axis, groups: Sequence[Comparison]
) -> None:
    """What the plots are made of, and how many runs they leave out."""
    left_out = []
    shown = {point_id(one) for axis in costs for one in charts.plotted(runs, axis, quality)}
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
    flag = next((flag for one in runs if (flag := one.record.quality.get(kind))), "")
    told = [
        f"Measured on {group.environment}.",
        f"Workload: {group.workload}.",
        f"Bars: {', '.join(bars)}." if bars else "",
        f"Of {len(runs):,} runs each plot draws the {charts.MOST} nearest to its front."
        if len(runs) > charts.MOST
        else "",
        f"{flag[0].upper()}{flag[1:]}." if flag else "",
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
            "Run": st.column_config.TextColumn(width=250),
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


@dataclass(frozen=True)
class _Plot:
    """What a plot shows. Two are equal where they look the same, so that one is drawn once for all visitors."""

    runs: reads.Runs
    x_key: str
    y_key: str
    ring: str | None
    hide: bool
    height: int
    limits: tuple[tuple[str, float], ...]
    reported: bool
    x: Axis = field(compare=False)
    y: Axis = field(compare=False)


@lru_cache(maxsize=32)
def _drawn(plot: _Plot) -> tuple[Figure, str] | None:
    """The figure and its sentence; None where no run has both figures."""
    dots, limits = charts.dots_of(plot.runs.every, plot.x, plot.y), dict(plot.limits)
    if not dots:
        return None
    shown = {"chosen": plot.ring, "hide_dominated": plot.hide, "height": plot.height, "limits": limits}
    figure = Figure(charts.pareto(dots, plot.x, plot.y, **shown))
    if plot.reported:
        published.draw(figure, plot.x, plot.y, dots[0].record.environment["device"])
    return figure, charts.describe(dots, plot.x, plot.y)


def _panel_links(shown: Stored) -> None:
    if query := form.address(spec_of(shown)):
        link = "../../pages/run_live.py"
        st.page_link(link, label="Open in Run live", icon=":material/play_arrow:", query_params=query)
    if base := reads.baseline_of(shown):
        compare.link([base, shown], "Compare")
    st.button("Close", key="close", type="tertiary", icon=":material/close:", on_click=lambda: _choose(None))


@lru_cache(maxsize=8)
def _frame(runs: reads.Runs) -> pd.DataFrame:
    titles = words.brief_titles([spec_of(one) for one in runs.every])
    frame = pd.DataFrame([{"Run": title, **_row(one)} for title, one in zip(titles, runs.every, strict=True)])
    frame["When"] = pd.to_datetime(frame["When"], errors="coerce", format="ISO8601", utc=True)
    return frame


def _csv(runs: Sequence[Stored]) -> bytes:
    rows = [{"Id": point_id(one), "Recipe": words.title(spec_of(one)), **_row(one)} for one in runs]
    return pd.DataFrame(rows).to_csv(index=False).encode()


def _row(one: Stored) -> dict[str, Any]:
    return {
        "Family": _family(one),
        **{name: read(one.record) for name, (read, _) in COLUMNS.items()},
        "Measured": _origin(one),
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
            _choose(point_id(runs[0]))
            st.rerun()
        elif compare.FEWEST <= len(runs) <= compare.MOST:
            compare.link(runs, f"Compare these {len(runs)} runs")
        elif len(runs) != 1:
            st.caption(f"Select a row to see its samples, or {compare.FEWEST} to {compare.MOST} rows to compare them.")


def _choose(identifier: str | None) -> None:
    if identifier is None:
        st.query_params.pop("run", None)
    else:
        st.query_params["run"] = identifier


def _pills(label: str, options: list[str], key: str) -> list[str]:
    if len(options) < 2:
        return options
    shared: dict[str, Any] = {"selection_mode": "multi", "label_visibility": "collapsed", **URL}
    return st.pills(label, options, default=options, key=key, **shared)


def _origin(one: Stored) -> str:
    return components.BADGES[one.origin][0]


def _family(one: Stored) -> str:
    return words.family(spec_of(one))
