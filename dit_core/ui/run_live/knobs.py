"""A widget for each knob of a technique, derived from its dataclass; disabled if the knob has no effect."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import streamlit as st

from dit_core.errors import BadRequest
from dit_core.recipes.knobs import Knob
from dit_core.recipes.registry import Technique
from dit_core.ui import format

WIDEST_SLIDER = 64  # a range of at most so many whole numbers is a slider
WIDEST_ROW, GAP = 30, 3  # characters: choices that fit into one row are buttons


def draw(technique: Technique, knob: Knob, values: dict[str, Any], on_change: Callable[[], None]) -> Any:
    """Draw the widget of a knob and return its value; `values` are those of the knobs before it.

    A knob without effect is disabled. It keeps its value, which is part of the run id, unless the technique rejects
    it: then the widget shows the first value that the technique accepts.
    """
    inactive_reason = knob.inactive_reason(values)
    if inactive_reason and not _accepts(technique, knob, values, _requested_value(technique.name, knob)):
        only = next(value for value in _possible_values(knob) if _accepts(technique, knob, values, value))
        return knob_input(f"held-{only}-{technique.name}", replace(knob, default=only), on_change, inactive_reason)
    return knob_input(technique.name, knob, on_change, inactive_reason)


def mark(knob: Knob, values: Sequence[Any]) -> None:
    """Mark the values of a knob that have bundled weights: dots below a slider, or a line of text."""
    if not values:
        return
    names = ", ".join(map(format.knob_value, values))
    if not _is_slider(knob):
        st.caption(f"With bundled weights: {names}")
        return
    low, high = float(knob.min or 0), float(knob.max or 0)
    dots = "".join(f'<i style="left:{100 * (value - low) / (high - low):.2f}%"></i>' for value in values)
    label = f"{format.knob_label(knob.name)} with bundled weights: {names}"
    st.html(f'<div class="dit-marks" role="img" aria-label="{label}" title="{label}">{dots}</div>')


def _is_slider(knob: Knob) -> bool:
    """Whether a knob that has no choices is drawn as a slider."""
    if knob.choices or knob.suggestions or knob.kind not in (int, float) or knob.min is None or knob.max is None:
        return False
    return knob.kind is float or knob.max - knob.min <= WIDEST_SLIDER


def _requested_value(owner: str, knob: Knob) -> Any:
    """The value that the widget of a knob will have: the visitor's choice, else the link's, else the default."""
    key = f"{owner}_{knob.name}"
    if key in st.session_state:
        return st.session_state[key]
    text = st.query_params.get(key)
    values = {format.knob_value(value): value for value in _possible_values(knob)}
    return knob.default if text is None else values.get(text, knob.default)


def _possible_values(knob: Knob) -> tuple[Any, ...]:
    """The default and, if they can be listed, the other values."""
    if knob.kind is int and not knob.choices and knob.min is not None and knob.max is not None:
        return knob.default, *range(int(knob.min), int(knob.max) + 1)
    return knob.default, *knob.choices


def _accepts(technique: Technique, knob: Knob, values: dict[str, Any], value: Any) -> bool:
    try:
        technique.parse({**values, knob.name: value})
    except BadRequest:
        return False
    return True


def knob_input(owner: str, knob: Knob, on_change: Callable[[], None], inactive_reason: str = "") -> Any:
    """The widget that fits a knob's type and limits, with help; disabled if there is an `inactive_reason`."""
    label = format.knob_label(knob.name)
    shared: dict[str, Any] = {
        "key": f"{owner}_{knob.name}",
        "help": f"{inactive_reason} {knob.help}".strip(),
        "on_change": on_change,
        "bind": "query-params",
        "disabled": bool(inactive_reason),
    }
    if knob.kind is bool:
        return st.toggle(label, knob.default, **shared)
    if knob.choices:
        if sum(len(str(choice)) + GAP for choice in knob.choices) <= WIDEST_ROW:
            return st.segmented_control(
                label,
                knob.choices,
                default=knob.default,
                required=True,
                format_func=format.knob_value,
                width="stretch",
                **shared,
            )
        index = knob.choices.index(knob.default)
        return st.selectbox(label, knob.choices, index, format_func=format.knob_value, **shared)
    if knob.suggestions:
        offered = [str(value) for value in knob.suggestions]
        index = offered.index(str(knob.default)) if str(knob.default) in offered else 0
        return st.selectbox(label, offered, index, accept_new_options=True, **shared)
    if knob.kind is str:
        return st.text_input(label, knob.default, max_chars=200, **shared)
    low, high, default = (None if v is None else knob.kind(v) for v in (knob.min, knob.max, knob.default))
    step = knob.kind(knob.step) if knob.step else (1 if knob.kind is int else None)
    if _is_slider(knob):
        return st.slider(label, low, high, default, step, **shared)
    return st.number_input(label, low, high, default, step, **shared)
