"""A widget for each knob of a technique, made from its dataclass; off, with the reason, where it changes nothing."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import streamlit as st

from dit_core.errors import BadRequest
from dit_core.techniques import Knob, Technique
from dit_core.ui import words

WIDEST_SLIDER = 64  # whole numbers in a range up to this are a slider
WIDEST_ROW, GAP = 30, 3  # letters: choices that fit into a row are buttons


def draw(technique: Technique, knob: Knob, values: dict[str, Any], on_change: Callable[[], None]) -> Any:
    """The widget of a knob beside the `values` of those before it; returns its value.

    A knob that changes nothing is off. It keeps its value, for that is part of the run's name, unless no run could
    have it: then the first that one could is shown in its place.
    """
    idle = knob.idle(values)
    if idle and not _accepted(technique, knob, values, _asked(technique.name, knob)):
        held = next(value for value in _possible(knob) if _accepted(technique, knob, values, value))
        return knob_input(f"held-{held}-{technique.name}", replace(knob, default=held), on_change, idle)
    return knob_input(technique.name, knob, on_change, idle)


def _asked(owner: str, knob: Knob) -> Any:
    """What the widget of a knob will have: the visitor's choice, else the address's, else the default."""
    key = f"{owner}_{knob.name}"
    if key in st.session_state:
        return st.session_state[key]
    asked = st.query_params.get(key)
    known = {words.knob_value(value): value for value in _possible(knob)}
    return knob.default if asked is None else known.get(asked, knob.default)


def _possible(knob: Knob) -> tuple[Any, ...]:
    """The default and, where they can be listed, the other values."""
    if knob.kind is int and not knob.choices and knob.min is not None and knob.max is not None:
        return knob.default, *range(int(knob.min), int(knob.max) + 1)
    return knob.default, *knob.choices


def _accepted(technique: Technique, knob: Knob, values: dict[str, Any], value: Any) -> bool:
    try:
        technique.parse({**values, knob.name: value})
    except BadRequest:
        return False
    return True


def knob_input(owner: str, knob: Knob, on_change: Callable[[], None], idle: str = "") -> Any:
    """The widget that fits a knob's type and limits, with its plain words as help; off where it is `idle`, and why."""
    label = words.knob_label(knob.name)
    shared: dict[str, Any] = {
        "key": f"{owner}_{knob.name}",
        "help": f"{idle} {knob.help}".strip(),
        "on_change": on_change,
        "bind": "query-params",
        "disabled": bool(idle),
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
                format_func=words.knob_value,
                width="stretch",
                **shared,
            )
        index = knob.choices.index(knob.default)
        return st.selectbox(label, knob.choices, index, format_func=words.knob_value, **shared)
    if knob.suggestions:
        offered = [str(value) for value in knob.suggestions]
        index = offered.index(str(knob.default)) if str(knob.default) in offered else 0
        return st.selectbox(label, offered, index, accept_new_options=True, **shared)
    if knob.kind is str:
        return st.text_input(label, knob.default, max_chars=200, **shared)
    low, high, default = (None if v is None else knob.kind(v) for v in (knob.min, knob.max, knob.default))
    step = knob.kind(knob.step) if knob.step else (1 if knob.kind is int else None)
    if low is not None and high is not None and (knob.kind is float or high - low <= WIDEST_SLIDER):
        return st.slider(label, low, high, default, step, **shared)
    return st.number_input(label, low, high, default, step, **shared)
