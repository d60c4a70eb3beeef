"""What a link asks of a page in vain: a misspelled input, or a value that is not possible. Said in one line.

The form of Run live compares the link with the run that it asks for (`note`), the other pages with the values of their
widgets (`page`). Streamlit removes a value that is not possible from the link, and so does it with a default.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import streamlit as st

from dit_core.ui import format

NOT_INPUTS = (
    "job",
    "sweep",
    "view",
    "zoom",
    "step",
    "embed",
    "embed_options",
)  # names of a link that are not the form's
_MESSAGE, _SEEN, _CHANGED, _SHOWN = "link-message", "link-seen", "link-changed", "link-shown"
Query = Mapping[str, Sequence[str]]


def link() -> dict[str, list[str]]:
    """Return what the link asks now. Call it before the inputs are drawn: they remove values that are not possible."""
    return {key: st.query_params.get_all(key) for key in st.query_params if key not in NOT_INPUTS}


def watched(on_change: Callable[[], None]) -> Callable[[], None]:
    """Return `on_change` of an input; what a visitor changes is not what a link asks."""

    def changed() -> None:
        st.session_state[_CHANGED] = True
        on_change()

    return changed


def note(asked: Query, shown: Mapping[str, str | list[str]]) -> None:
    """Draw what a new link asks in vain, until an input changes. `shown` is the query of the form as it is."""
    if st.session_state.pop(_CHANGED, False):
        st.session_state.pop(_MESSAGE, None)
    elif asked != st.session_state.get(_SEEN):
        st.session_state[_MESSAGE] = message(asked, shown)
    st.session_state[_SEEN] = link()
    if text := st.session_state.get(_MESSAGE):
        st.warning(format.escaped(text))


@contextmanager
def page(name: str) -> Iterator[None]:
    """Draw a page, with a line above it that says what a new link asks in vain, until an input changes."""
    asked = {key: list(dict.fromkeys(st.query_params.get_all(key))) for key in st.query_params}
    st.session_state[_SHOWN] = {}
    place = st.container() if asked or st.session_state.get(_MESSAGE) else None
    yield
    if (name, asked) != st.session_state.get(_SEEN):
        shown = {key: values for key in asked if (values := _shown(key)) is not None}
        st.session_state[_MESSAGE] = message(
            {key: sorted(values) for key, values in asked.items()}, {key: sorted(shown[key]) for key in shown}
        )
    left = {key: list(dict.fromkeys(st.query_params.get_all(key))) for key in st.query_params}
    st.session_state[_SEEN] = (name, left)
    if place and (text := st.session_state[_MESSAGE]):
        place.warning(format.escaped(text))


def told(key: str, *texts: str) -> None:
    """Note what a page shows for a name of its link that is no widget's value, or that the widget shows as a title.

    A page that says itself what is wrong with a value notes that value.
    """
    st.session_state.setdefault(_SHOWN, {})[key] = [text for text in texts if text]


def _shown(key: str) -> list[str] | None:
    """Return what a page shows for a name of its link; None if the name is no input."""
    if key in st.session_state[_SHOWN]:
        return st.session_state[_SHOWN][key]
    if key not in st.session_state:
        return None
    value = st.session_state[key]
    values = value if isinstance(value, list | tuple) else () if value is None else (value,)
    return [_text(each) for each in values]


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def message(asked: Query, shown: Mapping[str, str | list[str]]) -> str:
    """Return what a link asks and the form does not show, in one line; empty if the form shows all of it."""
    problems = []
    for key, values in asked.items():
        if key not in shown:
            problems.append(f"{key} is no input")
            continue
        value = shown[key]
        own = [value] if isinstance(value, str) else value
        if not _same([text for text in values if text], [text for text in own if text]):
            problems.append(f"{key}={','.join(values)} is not possible, {','.join(own) or 'nothing'} is used")
    return f"Ignored in this link: {'; '.join(problems)}." if problems else ""


def _same(asked: Sequence[str], shown: Sequence[str]) -> bool:
    return len(asked) == len(shown) and all(map(_alike, asked, shown))


def _alike(asked: str, shown: str) -> bool:
    """Whether two texts stand for one value: 2 and 2.0, true and True."""
    try:
        return float(asked) == float(shown)
    except ValueError:
        return asked.strip().lower() == shown.lower()
