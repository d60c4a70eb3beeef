"""What a link asks of the form in vain: a misspelled input, or a value that is not possible. Said in one line."""

from collections.abc import Callable, Mapping, Sequence

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
_MESSAGE, _SEEN, _CHANGED = "link-message", "link-seen", "link-changed"
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
