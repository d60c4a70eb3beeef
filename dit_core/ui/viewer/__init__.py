"""Pictures compared in the browser: side by side, divider, flicker, amplified difference, with one zoom for all.

Pictures that form have a frame for each step of denoising, and one slider goes through the steps of all.
A Streamlit component of its own HTML, CSS and JavaScript, which lie beside this file; it fetches nothing.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import streamlit as st

MODES, ZOOMS = ("side", "divider", "flicker", "difference"), (1, 2, 4, 8, 16)
_PARTS = {kind: (Path(__file__).parent / f"viewer.{kind}").read_text() for kind in ("html", "css", "js")}
_component = st.components.v2.component("dit_viewer", **_PARTS)


@dataclass(frozen=True)
class Picture:
    """A sheet as PNG, its title, and what it is called for those who hear the page; or its frames, one a step.

    `after` numbers the steps of the frames, where some are left out.
    """

    title: str
    alt: str
    png: bytes = b""
    frames: tuple[bytes, ...] = ()
    after: tuple[int, ...] = ()


@st.fragment
def viewer(pictures: Sequence[Picture], columns: int, labels: Sequence[str], *, key: str) -> None:
    """Show sheets of equal size, `columns` tiles in a row; `labels` names each tile.

    The link names mode, zoom and step, and the viewer begins with those of the link.
    """
    begun = f"{key}-start"
    if key not in st.session_state or begun not in st.session_state:  # later it knows better, and data stay the same
        st.session_state[begun] = _start()
    data = {
        "pictures": [_sent(one) for one in pictures],
        "columns": columns,
        "rows": -(-len(labels) // columns),
        "labels": list(labels),
        "steps": max((len(one.frames) for one in pictures), default=0),
        "start": st.session_state[begun],
    }
    _component(key=key, data=data, on_view_change=lambda: _name(st.session_state[key].get("view") or {}))


def _sent(one: Picture) -> dict[str, Any]:
    forms = {"frames": [_source(png) for png in one.frames], "after": list(one.after)}
    return {"title": one.title, "alt": one.alt, **(forms if one.frames else {"source": _source(one.png)})}


def _start() -> dict[str, Any]:
    """What the link asks for; step 0 is the middle."""
    mode, zoom, step = (st.query_params.get(name, "") for name in ("view", "zoom", "step"))
    return {
        "mode": mode if mode in MODES else MODES[0],
        "zoom": int(zoom) if zoom in map(str, ZOOMS) else 1,
        "step": int(step) if step.isdecimal() and len(step) < 5 else 0,
    }


def _name(view: dict[str, Any]) -> None:
    """Put a view into the link, without what is usual. Pictures that do not form leave the step as it is."""
    for name, value, usual in (("view", view.get("mode"), MODES[0]), ("zoom", view.get("zoom"), 1)):
        if value in (None, usual):
            st.query_params.pop(name, None)
        else:
            st.query_params[name] = str(value)
    if step := view.get("step"):
        st.query_params["step"] = str(step)


def _source(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
