"""Published results as lines over the Pareto plots.

A published result is drawn only on an axis of the same metric. All such results in the claims are times relative to a
baseline, so each is a line across the plot. A point would need a quality from the same metric as ours.
"""

import math
from collections.abc import Callable, Sequence
from functools import cache

import streamlit as st
from plotly.graph_objects import Figure

from dit_core.analysis.claim_file import Claim, read
from dit_core.records import metrics
from dit_core.records.metric import Metric
from dit_core.system.devices import kind
from dit_core.ui import format
from dit_core.ui.charts.axes import Axis
from dit_core.ui.components.elements import BADGES
from dit_core.ui.style import LINE

# By metric and by figure of a claim: the position of the claim's value on the axis.
POSITIONS: dict[Metric, dict[str, Callable[[float], float]]] = {
    metrics.SPEEDUP: {"speedup": lambda ratio: ratio, "throughput_loss": lambda share: 1 - share},
    metrics.RELATIVE_TIME: {"speedup": lambda ratio: 100 / ratio, "throughput_loss": lambda share: 100 / (1 - share)},
}
LABEL = 0.06  # height of a label, as a share of the plot's


def marks(axis: Axis, device: str) -> list[tuple[float, Claim]]:
    """Return the positions on this axis of both ends of every claim about this metric and this kind of device.

    A claim that names no figure, such as "several times as fast", has none.
    """
    positions = POSITIONS.get(axis.metric, {})
    return [
        (positions[claim.figure](end), claim)
        for claim in _claims()
        if claim.figure in positions and claim.device in (None, kind(device)) and not claim.open
        for end in (claim.least, claim.most)
        if math.isfinite(end)
    ]


def draw(figure: Figure, axis: Axis, quality: Axis, device: str) -> None:
    """Add a dashed line at each mark to a plot and widen its x axis to contain them.

    Labels are at the end of the line with the worst quality, away from the front, one below the other.
    """
    y, yanchor, next_line = (1.0, "top", -LABEL) if quality.lower_is_better else (0.0, "bottom", LABEL)
    scale = math.log10 if figure.layout.xaxis.type == "log" else float
    for number, (value, claim) in enumerate(marks(axis, device)):
        position, (low, high) = scale(value), figure.layout.xaxis.range
        figure.update_xaxes(range=(min(low, position), max(high, position)))
        line = {"color": LINE, "width": 1.6, "dash": "dash"}
        figure.add_shape(type="line", x0=value, x1=value, yref="paper", y0=0, y1=1, line=line)
        figure.add_annotation(
            x=position,
            yref="paper",
            y=y + number * next_line,
            yanchor=yanchor,
            xanchor="right" if position > (low + high) / 2 else "left",
            showarrow=False,
            text=f"reported for {_techniques(claim)}: {claim.reported}",
            hovertext=f"{claim.statement} {claim.source}",
        )


def note(costs: Sequence[Axis], quality: Axis, device: str) -> None:
    """Draw the statement and the source of each line, and why there are no published points."""
    label, colour, meaning = BADGES["reported"]
    drawn = dict.fromkeys(claim for axis in costs for _, claim in marks(axis, device))
    no_points = f"No paper reports {quality.title}, so there are no published points."
    if quality.metric.method_field != metrics.FID.method_field:
        no_points += " The FID of papers is a different metric and cannot share this axis."
    if not drawn:
        no_points += " No paper reports these costs in these units either."
    with st.container(key="published", gap="xsmall"):
        st.badge(label, color=colour, help=meaning)
        for claim in drawn:
            st.markdown(f"{claim.statement} ([{claim.source}]({claim.source.link}), different network and machine.)")
        st.caption(no_points)


def _techniques(claim: Claim) -> str:
    return " or ".join(format.technique_title(name).lower() for name in claim.techniques)


@cache
def _claims() -> tuple[Claim, ...]:
    return tuple(read())
