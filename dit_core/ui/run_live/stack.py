"""The inputs of the recipe: one technique or several in order, each with its knobs."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator
from streamlit.errors import StreamlitAPIException

from dit_core.models import recovered
from dit_core.recipes.knobs import Knob
from dit_core.recipes.recipe import has_bundled_weights
from dit_core.recipes.registry import Technique, registry
from dit_core.ui import format
from dit_core.ui.run_live import knobs, recovery

NONE = "none"  # instead of a technique: the baseline
VISIBLE_KNOBS = 2  # knobs of a technique that are always visible; if two or more others remain, they are folded
Recipe = list[dict[str, Any]]
SetStack = Callable[[list[str]], None]


def inputs(model: str, on_change: Callable[[], None]) -> Recipe:
    """Draw the techniques with their knobs; return the recipe. The link holds the techniques' names in order."""
    techniques = {
        technique.name: technique for members in format.families(registry()).values() for technique in members
    }
    names = _names_in_link(techniques)
    if "technique" not in st.query_params:
        recover_by_default(name for name in names if _recover_key(name) not in st.session_state)

    def set_stack(new: list[str]) -> None:
        recover_by_default([name for name in new if name not in names])
        st.query_params["technique"] = new or [NONE]
        on_change()

    recipe: Recipe = []
    for place, name in enumerate(names):
        with st.container(border=len(names) > 1):
            _technique_choice(place, names, techniques, set_stack)
            if len(names) > 1:
                _order_buttons(place, names, set_stack)
            st.caption(techniques[name].summary)
            recipe.append({"name": name, **_knob_values(techniques[name], model, recipe, on_change)})
    if not recipe:
        _technique_choice(0, [NONE], techniques, set_stack)
    elif others := [name for name in techniques if name not in names]:
        _add_technique(others, names, techniques, set_stack)
    return recipe


def _names_in_link(techniques: dict[str, Technique]) -> list[str]:
    """The techniques that the link names, each once; without any, the first technique, or none for the baseline."""
    names = list(dict.fromkeys(st.query_params.get_all("technique")))
    return [name for name in names if name in techniques] or ([] if NONE in names else list(techniques)[:1])


def _knob_values(technique: Technique, model: str, before: Recipe, on_change: Callable[[], None]) -> dict[str, Any]:
    """Draw the knobs of a technique and return their values. `before` is the recipe up to this technique.

    The recovery knob is drawn last, because the bundled weights depend on the model, on the recipe so far and on all
    other knobs; it appears between the visible and the folded knobs.
    """

    def on_knob() -> None:
        if st.session_state.get(_recover_key(technique.name)) == recovered.BUNDLED:
            recover_by_default([technique.name])
        on_change()

    values: dict[str, Any] = {}
    marks: dict[str, DeltaGenerator] = {}  # places for the marks, which depend on the knobs that are drawn later
    plain = [knob for knob in technique.knobs if not knob.suggestions]
    visible, folded = plain, []
    if len(plain) > VISIBLE_KNOBS + 1:
        visible, folded = plain[:VISIBLE_KNOBS], plain[VISIBLE_KNOBS:]
    for knob in visible:
        values[knob.name] = knobs.draw(technique, knob, values, on_knob)
        marks[knob.name] = st.empty()
    training = st.container()
    if folded:
        is_set = any(f"{technique.name}_{knob.name}" in st.query_params for knob in folded)
        with st.expander("More", is_set, key=f"more-{technique.name}"):
            for knob in folded:
                values[knob.name] = knobs.draw(technique, knob, values, on_knob)
                marks[knob.name] = st.empty()
    for knob in technique.knobs:
        if knob.suggestions:
            recipe = [*before, {"name": technique.name, **values}]
            for marked in plain:
                with marks[marked.name]:
                    knobs.mark(marked, recovery.bundled_values(model, recipe, marked.name))
            with training:
                values[knob.name] = _recovery_choice(technique.name, knob, model, recipe, on_change)
    return values


def _recovery_choice(owner: str, knob: Knob, model: str, recipe: Recipe, on_change: Callable[[], None]) -> str:
    """The training after a technique; bundled weights are offered only if there are some for exactly these knobs.

    They are the default of a technique that was chosen in the form. A link's own value is never changed: a link without
    a value means none.
    """
    is_bundled, key = has_bundled_weights(model, recipe), _recover_key(owner)
    offered = tuple(value for value in knob.suggestions if value != recovered.BUNDLED or is_bundled)
    if key not in st.session_state:  # opened by a link, perhaps after another visit of this session
        st.session_state[_default_key(owner)] = False
    elif st.session_state.get(_default_key(owner)):
        st.session_state[key] = recovered.BUNDLED if is_bundled else recovered.NONE
        if is_bundled:  # a link that leaves it out means none
            with suppress(StreamlitAPIException):  # once the widget is drawn, its value goes into the link by itself
                st.query_params[key] = recovered.BUNDLED

    def on_choice() -> None:
        st.session_state[_default_key(owner)] = st.session_state[key] == recovered.BUNDLED
        on_change()

    choice = knobs.knob_input(owner, replace(knob, suggestions=offered), on_choice)
    st.caption(recovery.description(model, recipe, choice))
    return choice


def recover_by_default(names: Iterable[str]) -> None:
    """Let the form choose the recovery of these techniques: bundled weights where they exist, else none."""
    for name in names:
        st.session_state.setdefault(_recover_key(name), recovered.NONE)
        st.session_state[_default_key(name)] = True


def _recover_key(name: str) -> str:
    """Key of the widget for a technique's recovery, in links too."""
    return f"{name}_recover"


def _default_key(name: str) -> str:
    """Session key that says whether the form chooses the recovery of a technique."""
    return f"{name}-recover-by-default"


def _technique_choice(place: int, names: list[str], techniques: dict[str, Technique], set_stack: SetStack) -> None:
    """The technique at one place. The widget's key contains the choice, so that it always agrees with the link."""
    key = f"technique-{place}-{names[place]}"
    options = [name for name in techniques if name == names[place] or name not in names]
    st.selectbox(
        "Technique" if len(names) == 1 else f"Technique {place + 1}",
        [*options, *([NONE] if len(names) == 1 else [])],
        [*options, NONE].index(names[place]),
        key=key,
        format_func=lambda name: _title(techniques[name]) if name in techniques else "None (the baseline)",
        on_change=lambda: set_stack([*names[:place], st.session_state[key], *names[place + 1 :]]),
        help=f"What to change in the network. Families: {', '.join(format.families(techniques))}.",
    )


def _add_technique(others: list[str], names: list[str], techniques: dict[str, Technique], set_stack: SetStack) -> None:
    key = f"add-{'-'.join(names)}"
    st.selectbox(
        "Add another technique",
        others,
        None,
        key=key,
        format_func=lambda name: _title(techniques[name]),
        placeholder="Add another technique",
        label_visibility="collapsed",
        on_change=lambda: set_stack([*names, st.session_state[key]]),
    )


def _order_buttons(place: int, names: list[str], set_stack: SetStack) -> None:
    """Buttons that move a technique in the stack or remove it."""
    name = names[place]
    with st.container(horizontal=True, gap="xsmall"):
        for label, icon, other in (("Up", "arrow_upward", place - 1), ("Down", "arrow_downward", place + 1)):
            possible = 0 <= other < len(names)
            swapped = [names[{place: other, other: place}.get(i, i)] for i in range(len(names))] if possible else names
            _stack_button(label, name, icon, set_stack, swapped, disabled=not possible)
        _stack_button("Remove", name, "close", set_stack, [other for other in names if other != name])


def _stack_button(label: str, name: str, icon: str, set_stack: SetStack, new: list[str], **options: Any) -> None:
    """A button that replaces the stack by `new`."""
    options |= {"icon": f":material/{icon}:", "type": "tertiary", "on_click": set_stack, "args": (new,)}
    st.button(label, f"{label}-{name}", **options)


def _title(technique: Technique) -> str:
    """The title, with the family if the title does not contain it."""
    contains_family = technique.family in technique.title.lower()
    return technique.title if contains_family else f"{technique.title} ({technique.family})"
