"""What papers and their summaries report, as a layer of its own over the Pareto plots: lines, for lack of points.

A reported figure is drawn on an axis of the same figure alone. All that the claims have of that kind are times beside a
baseline's, so each is a line across the plot; a point would need a quality that was judged as ours is.
"""

import math
from collections.abc import Callable, Sequence
from functools import cache

import streamlit as st
from plotly.graph_objects import Figure

from dit_core.claims import Claim, read
from dit_core.ui import words
from dit_core.ui.axes import Axis
from dit_core.ui.charts import LINE
from dit_core.ui.components import BADGES

SAME: dict[str, dict[str, Callable[[float], float]]] = {  # by axis and figure of a claim: where on the axis it is
    "speedup": {"speedup": lambda times: times, "throughput_loss": lambda share: 1 - share},
    "relative_time": {"speedup": lambda times: 100 / times, "throughput_loss": lambda share: 100 / (1 - share)},
}


def marks(axis: Axis, device: str) -> list[tuple[float, Claim]]:
    """Each end of the range of every claim that this axis measures and that holds for such a device."""
    places = SAME.get(axis.key, {})
    return [
        (places[claim.figure](end), claim)
        for claim in _claims()
        if claim.figure in places and claim.device in (None, device)
        for end in (claim.least, claim.most)
        if math.isfinite(end)
    ]


def draw(figure: Figure, axis: Axis, quality: Axis, device: str) -> None:
    """Dashed lines across a plot at the marks of its horizontal axis, which is widened to hold them.

    Their words stand at the end where quality is worst, away from the front.
    """
    y, yanchor = (1, "top") if quality.better == "less" else (0, "bottom")
    scale = math.log10 if figure.layout.xaxis.type == "log" else float
    for value, claim in marks(axis, device):
        place, (low, high) = scale(value), figure.layout.xaxis.range
        figure.update_xaxes(range=(min(low, place), max(high, place)))
        line = {"color": LINE, "width": 1.6, "dash": "dash"}
        figure.add_shape(type="line", x0=value, x1=value, yref="paper", y0=0, y1=1, line=line)
        figure.add_annotation(
            x=place,
            yref="paper",
            y=y,
            yanchor=yanchor,
            xanchor="right" if place > (low + high) / 2 else "left",
            showarrow=False,
            text=f"reported of {_about(claim)}: {claim.reported}",
            hovertext=f"{claim.says} {claim.source}",
        )


def note(costs: Sequence[Axis], quality: Axis, device: str) -> None:
    """What the lines are and who says so; and why nothing published is a point."""
    label, colour, meaning = BADGES["reported"]
    drawn = dict.fromkeys(claim for axis in costs for _, claim in marks(axis, device))
    told = [f"{claim.says} ([{claim.source}]({claim.source.link}), another network and machine.)" for claim in drawn]
    none = f"Nothing published is a point here: no source of the claims gives {quality.title}."
    if not quality.key.startswith("fid "):
        none += " The FID that papers tell is another metric, so it shares no axis with it."
    with st.container(key="published", gap="xsmall"):
        st.badge(label, color=colour, help=meaning)
        for one in told:
            st.markdown(one)
        st.caption(none if drawn else f"{none} Nor does one give these costs in these units.")


def _about(claim: Claim) -> str:
    return " or ".join(words.technique_title(name).lower() for name in claim.techniques)


@cache
def _claims() -> tuple[Claim, ...]:
    return tuple(read())
