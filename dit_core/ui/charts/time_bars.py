"""Bars of the time that each part of a network takes, as a plain Plotly figure. Imports no Streamlit."""

from typing import Any

from dit_core.records import metrics
from dit_core.records.record import RunRecord
from dit_core.ui.charts.pareto_plot import LEGEND
from dit_core.ui.style import LINE, PARTS

MIN_DRAWN = 0.005  # smaller shares of the time are not drawn
MIN_LABELLED = 0.09  # bars of smaller shares are too short for a number
CONFIG = {"displayModeBar": False}


def time_figure(record: RunRecord) -> tuple[dict[str, Any], str] | None:
    """Return bars of the time of a run above its baseline's, in % of the baseline's time, and the same as a sentence.

    None if the run was not profiled.
    """
    run = "This run" if record.spec["techniques"] else "Baseline"
    shares_by_side = {run: record.latency.get("time_shares")}
    scales = {run: 1.0}
    if record.spec["techniques"] and (baseline_shares := record.speedup.get("baseline_time_shares")):
        shares_by_side = {"Baseline": baseline_shares, **shares_by_side}
        scales = {"Baseline": 1.0, run: metrics.RELATIVE_TIME.read(record) or 1.0}
    if not shares_by_side[run]:
        return None
    known = {side: shares for side, shares in shares_by_side.items() if shares}
    traces = []
    for part, (name, colour) in PARTS.items():
        part_shares = {side: shares.get(part, 0.0) for side, shares in known.items()}
        if max(part_shares.values()) >= MIN_DRAWN:
            traces.append(_bars(name, colour, part_shares, scales))
    sentences = ". ".join(f"{side}: {_named_shares(shares)}" for side, shares in known.items())
    layout = {
        "height": 130 + 42 * len(known),  # on a phone the legend takes four rows of it
        "margin": {"l": 8, "r": 16, "t": 30, "b": 8},
        "barmode": "stack",
        "legend": {**LEGEND, "traceorder": "normal", "entrywidth": 0},
        "xaxis": {"title": {"text": "Time, % of the baseline's"}, "zeroline": False},
        "yaxis": {"autorange": "reversed"},
    }
    return {"data": traces, "layout": layout}, f"Where the time goes. {sentences}."


def _named_shares(shares: dict[str, float]) -> str:
    named = ((name, shares.get(part, 0.0)) for part, (name, _) in PARTS.items())
    return ", ".join(f"{name} {100 * share:.0f} %" for name, share in named if share >= MIN_DRAWN)


def _bars(name: str, colour: str, shares: dict[str, float], scales: dict[str, float]) -> dict[str, Any]:
    """Return the trace of one part for each side. Its hover text gives the share of that side's own time."""
    widths = [share * scales[side] for side, share in shares.items()]
    return {
        "type": "bar",
        "orientation": "h",
        "name": name,
        "y": list(shares),
        "x": [100 * width for width in widths],
        "customdata": [100 * share for share in shares.values()],
        "text": [f"{100 * width:.0f} %" if width >= MIN_LABELLED else "" for width in widths],
        "textposition": "inside",
        "insidetextanchor": "middle",
        "hovertemplate": f"{name}: %{{customdata:.1f}} % of its time<extra></extra>",
        "marker": {"color": colour, "line": {"color": LINE, "width": 1}},  # the outline is visible in both themes
    }
