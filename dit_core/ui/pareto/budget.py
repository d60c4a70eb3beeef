"""The best run within limits on time, memory and quality. The limits are in the page's link."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import streamlit as st

from dit_core.records import metrics
from dit_core.records.store import Stored
from dit_core.ui import comparisons, format
from dit_core.ui.charts.axes import Axis
from dit_core.ui.components import elements, model_download
from dit_core.ui.components.elements import IN_URL
from dit_core.ui.run_live import form

FASTEST = Axis(metrics.PRIMARY_COST)


@dataclass(frozen=True)
class Limit:
    """The worst accepted value of an axis."""

    axis: Axis
    value: float

    def holds(self, run: Stored) -> bool:
        """Return whether a run is within the limit; False if its value is unknown."""
        value = self.axis.read(run.record)
        if value is None:
            return False
        return value <= self.value if self.axis.lower_is_better else value >= self.value


def ask(runs: Sequence[Stored], quality: Axis, on_show: Callable[[str], None]) -> tuple[list[Limit], Stored | None]:
    """Draw inputs for limits with the best run within them; return the limits and that run.

    `on_show` is called with the point whose samples are requested.
    """
    with st.container(border=True, key="budget"):
        st.markdown("**Which run is best within your limits?**")
        limits = _limit_inputs(quality)
        if not limits:
            st.caption("Set one or more limits to get the best recipe.")
            return limits, None
        best, fitting = best_within(runs, quality, limits)
        if best is None:
            st.warning(f"No run meets all these limits. {_best_values(runs, limits)}")
        else:
            _show_answer(best, quality, limits, f"{fitting} of {len(runs)} runs meet the limits", on_show)
            _name_equals(best, not_told_apart(best, runs, quality, limits))
        return limits, best


def limited_costs() -> dict[str, Axis]:
    """Return the costs that can be limited, by the name of the limit in the page's link."""
    return {f"within_{metric.limit_key}": Axis(metric) for metric in metrics.METRICS if metric.limit_key}


def best_within(runs: Sequence[Stored], quality: Axis, limits: Sequence[Limit]) -> tuple[Stored | None, int]:
    """Return the best run that meets all limits, and how many runs do.

    The best run has the best quality. If the quality is limited, any quality within the limit is good enough, and the
    fastest run is best.
    """
    fitting = [run for run in runs if all(limit.holds(run) for limit in limits)]
    aim = FASTEST if _is_limited(quality, limits) else quality
    known = [(value, run) for run in fitting if (value := aim.read(run.record)) is not None]
    order = min if aim.lower_is_better else max
    _, best = order(known, key=lambda pair: pair[0], default=(0.0, None))
    return best, len(fitting)


def not_told_apart(best: Stored, runs: Sequence[Stored], quality: Axis, limits: Sequence[Limit]) -> list[Stored]:
    """Return the other runs within the limits whose difference to the best is inside the interval of the difference.

    Half widths of both intervals add in quadrature, which is more than the error of runs of the same seeds. A value
    without an interval is exact.
    """
    aim = FASTEST if _is_limited(quality, limits) else quality
    value, half = _measured(aim, best)
    others = [run for run in runs if run != best and all(limit.holds(run) for limit in limits)]
    measured = [(run, *_measured(aim, run)) for run in others if aim.read(run.record) is not None]
    return [run for run, own, own_half in measured if abs(own - value) <= math.hypot(half, own_half)]


def _measured(axis: Axis, run: Stored) -> tuple[float, float]:
    """Return a value on an axis and half the width of its interval."""
    low, high = axis.interval(run.record) or (0.0, 0.0)
    return axis.read(run.record) or 0.0, (high - low) / 2


def _name_equals(best: Stored, runs: Sequence[Stored]) -> None:
    """Name the runs that cannot be told from the best by what tells them from it in their recipes."""
    if runs:
        titles = format.brief_titles([comparisons.spec_of(run) for run in (best, *runs)])
        names = "; ".join(map(format.escaped, titles[1:]))
        st.caption(f"Equally good within the intervals ({len(runs)}): {names}.")


def _limit_inputs(quality: Axis) -> list[Limit]:
    limits = []
    axes = limited_costs() | {f"within_{quality.metric.axis_key}": quality}
    with st.grid(5, min_column_width=140, vertical_alignment="bottom", gap="small"):
        for key, axis in axes.items():
            bound = f"at {'most' if axis.lower_is_better else 'least'} {axis.unit}".strip()
            shared: dict[str, Any] = {"placeholder": "no limit", "help": axis.metric.caution or None, **IN_URL}
            value = st.number_input(f"{axis.short}, {bound}", 0.0, None, None, key=key, **shared)
            if value is not None:
                limits.append(Limit(axis, value))
    return limits


def _show_answer(
    best: Stored, quality: Axis, limits: Sequence[Limit], fitting: str, on_show: Callable[[str], None]
) -> None:
    """Draw the best run: recipe, values, command and links."""
    spec = comparisons.spec_of(best)
    values = ((axis, axis.read(best.record)) for axis in (*limited_costs().values(), quality))
    texts = ", ".join(f"{axis.name} {axis.text(value)}" for axis, value in values if value is not None)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"**{format.title(spec)}**", width="content")
        elements.origin_badge(best)
        elements.training_badge(spec)
        st.space("stretch")
        shared: dict[str, Any] = {"on_click": on_show, "args": (comparisons.point_id(best),), "type": "tertiary"}
        st.button("Show samples", key="answer-samples", icon=":material/image:", **shared)
        if query := form.address(spec):
            link = "../../pages/run_live.py"
            st.page_link(link, label="Open in Run live", icon=":material/play_arrow:", query_params=query)
    aim = "the fastest of them" if _is_limited(quality, limits) else f"the best of them by {quality.name}"
    st.caption(f"{texts[0].upper()}{texts[1:]}. {fitting}; this is {aim}. Marked with a square in the plots.")
    elements.command(spec)
    with st.container(horizontal=True):
        model_download.offer(spec, "answer")


def _is_limited(quality: Axis, limits: Sequence[Limit]) -> bool:
    return any(limit.axis == quality for limit in limits)


def _best_values(runs: Sequence[Stored], limits: Sequence[Limit]) -> str:
    """Return the best value of each limited axis, as a sentence."""
    texts = []
    for axis in (limit.axis for limit in limits):
        values = [value for run in runs if (value := axis.read(run.record)) is not None]
        if values:
            texts.append(f"the best {axis.name} is {axis.text(axis.best(values))}")
    return f"Among these runs, {', '.join(texts)}." if texts else ""
