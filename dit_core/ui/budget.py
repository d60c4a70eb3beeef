"""Under a budget, what is the best there is? Limits on time, memory and quality, and the one run that answers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import streamlit as st

from dit_core.store import Stored
from dit_core.ui import components, form, model_file, points, words
from dit_core.ui.axes import COSTS, Axis

QUICKEST = COSTS["relative_time"]
COST_LIMITS = {
    "within_time": QUICKEST,
    "within_ms": COSTS["latency"],
    "within_weights": COSTS["weights"],
    "within_mb": COSTS["memory"],
}


@dataclass(frozen=True)
class Limit:
    """The worst value of an axis that is accepted."""

    axis: Axis
    value: float

    def holds(self, one: Stored) -> bool:
        """Whether a run keeps it; a run without the figure does not."""
        value = self.axis.read(one.record)
        return value is not None and (value <= self.value if self.axis.better == "less" else value >= self.value)


def ask(runs: Sequence[Stored], quality: Axis, on_show: Callable[[str], None]) -> tuple[list[Limit], Stored | None]:
    """The question in a box with its answer: the limits that are given, all in the address, and the run that is best.

    `on_show` gets the point whose samples somebody wants to see.
    """
    with st.container(border=True, key="budget"):
        st.markdown("**Which run is best within your limits?**")
        limits = _inputs(quality)
        if not limits:
            st.caption("Give one limit or several: the answer is one run, with its command and its model.")
            return limits, None
        best, fitting = answer(runs, quality, limits)
        if best is None:
            st.warning(f"No run here keeps all of these limits. {_nearest(runs, limits)}")
        else:
            _show(best, quality, limits, f"{fitting} of {len(runs)} runs keep the limits", on_show)
        return limits, best


def _inputs(quality: Axis) -> list[Limit]:
    limits = []
    with st.grid(5, min_column_width=170, vertical_alignment="bottom", gap="small"):
        for key, axis in (*COST_LIMITS.items(), (f"within_{quality.key.partition(' ')[0]}", quality)):
            bound = f"at {'most' if axis.better == 'less' else 'least'} {axis.unit}".strip()
            shared: dict[str, Any] = {
                "key": key,
                "placeholder": "no limit",
                "help": axis.caution or None,
                "bind": "query-params",
            }
            value = st.number_input(f"{axis.short or axis.title}, {bound}", 0.0, None, None, **shared)
            if value is not None:
                limits.append(Limit(axis, value))
    return limits


def answer(runs: Sequence[Stored], quality: Axis, limits: Sequence[Limit]) -> tuple[Stored | None, int]:
    """The best run that keeps all limits, and how many do.

    Best is the best quality; where the quality has a limit, that quality is enough and the quickest is best.
    """
    fitting = [one for one in runs if all(limit.holds(one) for limit in limits)]
    aim = QUICKEST if any(limit.axis is quality for limit in limits) else quality
    known = [one for one in fitting if aim.read(one.record) is not None]
    best = (min if aim.better == "less" else max)(known, key=lambda one: aim.read(one.record) or 0.0, default=None)
    return best, len(fitting)


def _show(best: Stored, quality: Axis, limits: Sequence[Limit], kept: str, on_show: Callable[[str], None]) -> None:
    """The answer: what it is, its figures, its command, and where to go from it."""
    spec = points.spec_of(best)
    read = ((axis, axis.read(best.record)) for axis in (*COST_LIMITS.values(), quality))
    figures = ", ".join(f"{axis.name} {axis.text(value)}" for axis, value in read if value is not None)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"**{words.title(spec)}**", width="content")
        components.origin_badge(best)
        st.space("stretch")
        shared: dict[str, Any] = {"on_click": on_show, "args": (points.point_id(best),), "type": "tertiary"}
        st.button("See its samples", key="answer-samples", icon=":material/image:", **shared)
        if query := form.address(spec):
            link = "../../pages/run_live.py"
            st.page_link(link, label="Open in Run live", icon=":material/play_arrow:", query_params=query)
    st.caption(f"{figures[0].upper()}{figures[1:]}. {kept}; {_why(quality, limits)}. It has a square around it below.")
    st.code(spec.command(), language=None, wrap_lines=True)
    with st.container(horizontal=True):
        model_file.offer(spec, "answer")


def _why(quality: Axis, limits: Sequence[Limit]) -> str:
    limited = any(limit.axis is quality for limit in limits)
    return "this is the quickest" if limited else f"this is the best by {quality.name}"


def _nearest(runs: Sequence[Stored], limits: Sequence[Limit]) -> str:
    told = []
    for limit in limits:
        values = [value for one in runs if (value := limit.axis.read(one.record)) is not None]
        if values:
            best = min(values) if limit.axis.better == "less" else max(values)
            told.append(f"the best {limit.axis.name} is {limit.axis.text(best)}")
    return f"Here {', '.join(told)}." if told else ""
