"""Who submitted a job: an anonymous id for each browser, kept in a cookie, and a button that cancels jobs with care.

The id is no login: it only tells one's own jobs from those of others.
"""

import re
import secrets
from collections.abc import Callable
from typing import Any

import streamlit as st

from dit_core.jobs.job import Job, Sweep
from dit_core.ui.components.elements import Colour

COOKIE = "dit_browser"
_ID = re.compile(r"[0-9a-f]{16}")
COLOURS: tuple[Colour, ...] = ("blue", "green", "orange", "violet", "red")


def browser_id() -> str:
    """Return the id of this browser: that of its cookie, else a new one, which `remember` lets the browser keep."""
    return _known_id() or st.session_state.setdefault(COOKIE, secrets.token_hex(8))


def remember() -> None:
    """Let the script of the page write the cookie of a browser that has none yet."""
    if not _known_id():
        with st.container(key="silent-browser"):
            st.html(f'<span class="dit-browser" data-id="{browser_id()}"></span>')


def _known_id() -> str:
    """Return the id in the cookie of this browser; empty if there is none, or if it is not an id."""
    cookie = st.context.cookies.get(COOKIE)
    return cookie if isinstance(cookie, str) and _ID.fullmatch(cookie) else ""


def name_of(owner: str) -> tuple[str, Colour]:
    """Return the name and the colour of an owner: `you`, or a colour with a number."""
    if owner == browser_id():
        return "you", "blue"
    number = int(owner, 16)
    colour = COLOURS[number % len(COLOURS)]
    return f"{colour} {number // len(COLOURS) % 100}", colour


def badge(work: Job | Sweep) -> None:
    """Draw who submitted a job or a sweep; nothing if it was not submitted in a browser."""
    if _ID.fullmatch(work.owner):
        name, colour = name_of(work.owner)
        note = "Submitted in this browser." if name == "you" else "Submitted in another browser."
        st.badge(name, color=colour, icon=":material/person:", help=note)


def cancel_button(work: Job | Sweep, on_cancel: Callable[[int], None], key: str, **options: Any) -> None:
    """Draw a button that cancels a job or a sweep. To cancel that of another browser takes a confirmation."""
    running = work.running if isinstance(work, Sweep) else work
    stopping = bool(running and running.cancelling)
    label = "Stopping" if stopping else "Cancel"
    click: dict[str, Any] = {"on_click": on_cancel, "args": (work.id,)}
    if not _ID.fullmatch(work.owner) or work.owner == browser_id():
        st.button(label, key=key, disabled=stopping, **click, **options)
        return
    name, _ = name_of(work.owner)
    with st.popover(label, key=f"{key}-ask", disabled=stopping, type=options.get("type", "secondary")):
        what = "sweep" if isinstance(work, Sweep) else "job"
        st.markdown(f"**{name}** submitted this {what} in another browser. Cancel it anyway?")
        st.button(f"Cancel the {what}", key=key, type="primary", **click)
