"""The page Tour: its heading with buttons from step to step, and the step itself."""

from dataclasses import replace
from typing import Any

import streamlit as st

from dit_core.recipes.recipe import canonical
from dit_core.records.spec import RunSpec
from dit_core.records.store import Stored
from dit_core.ui import data, format
from dit_core.ui.components import ignored
from dit_core.ui.run_live import form
from dit_core.ui.tour.links import Query
from dit_core.ui.tour.steps import STEPS, Step

WIDTH = 1200  # pixels: longer lines are hard to read aloud
STATE = "tour-step"  # the visitor's step while other pages are open


def current_step() -> int:
    """Return the number of the step, from 1: the one that the link names, else the one where the visitor was."""
    query = st.query_params.get("step", "")
    wanted = int(query) if query.isdecimal() and len(query) < 4 else st.session_state.get(STATE, 1)
    number = min(max(wanted, 1), len(STEPS))
    if query and query != str(number):
        st.warning(format.escaped(f"There is no step {query}: this is step {number} of {len(STEPS)}."))
    ignored.told("step", query)
    st.session_state[STATE] = number
    return number


def heading() -> int:
    """Draw the title with buttons to the previous and the next step, and return the number of the step."""
    last = len(STEPS)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.title("Tour", anchor=False, width="stretch")
        buttons = st.container(horizontal=True, vertical_alignment="center", width="content")
    number = current_step()
    with buttons:
        left: dict[str, Any] = {"icon": ":material/arrow_back:", "disabled": number == 1}
        right: dict[str, Any] = {"icon": ":material/arrow_forward:", "disabled": number == last}
        st.button("Previous", "previous", on_click=_go_to, args=(number - 1,), **left)
        st.markdown(f"Step {number} of {last}", width="content")
        st.button("Next", "next", on_click=_go_to, args=(number + 1,), icon_position="right", **right)
    return number


def show(step: Step) -> None:
    """A step: its text, what it shows, and the link to its page, or to Run live if its run is not measured yet."""
    spec = replace(data.default_spec(), techniques=canonical(step.recipe))
    runs = _measured(spec)
    st.subheader(step.title, anchor=False)
    with st.container(width=WIDTH):
        st.markdown(step.text)
        if not runs:
            st.info(f"{format.title(spec)}: not measured yet. Run it, then return to this step.")
        else:
            step.show(runs)
    if not runs:
        _link("run_live", "Run it here", form.address(spec))
    else:
        _link(step.page, step.label, step.query(runs))
    if step.second_page:
        _link(*step.second_page, {})


def _link(page: str, label: str, query: Query) -> None:
    st.page_link(f"../../pages/{page}.py", label=f"**{label}**", icon=":material/play_circle:", query_params=query)


def _measured(spec: RunSpec) -> list[Stored]:
    """The records of the baseline and of the run, from the same environment; empty if one is missing."""
    for group in data.groups():
        by_id = {stored.record.run_id: stored for stored in group.runs}
        wanted = dict.fromkeys((spec.baseline.run_id, spec.run_id))
        if wanted.keys() <= by_id.keys():
            return [by_id[run_id] for run_id in wanted]
    return []


def _go_to(number: int) -> None:
    st.query_params["step"] = str(number)
