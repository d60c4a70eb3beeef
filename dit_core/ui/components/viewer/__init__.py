"""A Streamlit component that compares pictures in the browser: side by side, divider, flicker, amplified difference.

All pictures share one zoom. Pictures with a frame for each denoising step share one slider. The HTML, CSS and
JavaScript files are in this folder; they load nothing from the network.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import streamlit as st

from dit_core.ui.components import ignored

MODES, ZOOMS = ("side", "divider", "flicker", "difference"), (1, 2, 4, 8, 16)
WIDE_COLUMNS, WIDE_RATIO = 8, 2.25  # fewest columns of a wide sheet, and its width over its height
_PARTS = {kind: (Path(__file__).parent / f"viewer.{kind}").read_text() for kind in ("html", "css", "js")}
_component = st.components.v2.component("dit_viewer", **_PARTS)


@dataclass(frozen=True)
class Picture:
    """A sheet as PNG with its title and alternative text, or its frames, one for each denoising step.

    `wide` and `wide_frames` hold the same tiles in `wide_columns(count)` columns, for one picture across the page.
    `after` holds the step number of each frame, for trajectories that skip steps.
    """

    title: str
    alt: str
    png: bytes = b""
    wide: bytes = b""
    frames: tuple[bytes, ...] = ()
    wide_frames: tuple[bytes, ...] = ()
    after: tuple[int, ...] = ()


def wide_columns(count: int) -> int:
    """Return the columns of a wide sheet of `count` tiles: it fills a page, and its height fits on a screen."""
    return min(count, max(WIDE_COLUMNS, round((WIDE_RATIO * count) ** 0.5)))


@st.fragment
def viewer(pictures: Sequence[Picture], columns: int, labels: Sequence[str], *, key: str) -> None:
    """Draw sheets of equal size with `columns` tiles in a row; `labels` has the name of each tile.

    Mode, zoom and step are in the page's link, and the viewer starts with them.
    """
    start_key = f"{key}-start"
    # The link is read once: later the browser holds the view, and changed data would reset the component.
    if key not in st.session_state or start_key not in st.session_state:
        st.session_state[start_key] = _view_of_link()
    data = {
        "pictures": [_as_data(picture) for picture in pictures],
        "columns": columns,
        "rows": -(-len(labels) // columns),
        "wide": {"columns": (wide := wide_columns(len(labels))), "rows": -(-len(labels) // wide)},
        "labels": list(labels),
        "steps": max((len(picture.frames) for picture in pictures), default=0),
        "start": st.session_state[start_key],
    }
    _component(key=key, data=data, on_view_change=lambda: _put_in_link(st.session_state[key].get("view") or {}))


def _as_data(picture: Picture) -> dict[str, Any]:
    """Return the picture as the JavaScript expects it."""
    frames = {"frames": [_source(png) for png in picture.frames], "after": list(picture.after)}
    if picture.frames:
        content = {**frames, "wideFrames": [_source(png) for png in picture.wide_frames]}
    else:
        content = {"source": _source(picture.png), "wide": _source(picture.wide)}
    return {"title": picture.title, "alt": picture.alt, **content}


def _view_of_link() -> dict[str, Any]:
    """Return mode, zoom and step of the page's link, or their defaults; step 0 means the middle step."""
    mode, zoom, step = (st.query_params.get(name, "") for name in ("view", "zoom", "step"))
    view = {
        "mode": mode if mode in MODES else MODES[0],
        "zoom": int(zoom) if zoom in map(str, ZOOMS) else 1,
        "step": int(step) if step.isdecimal() and len(step) < 5 else 0,
    }
    for name, value in zip(("view", "zoom", "step"), view.values(), strict=True):
        ignored.told(name, str(value or ""))
    return view


def _put_in_link(view: dict[str, Any]) -> None:
    """Write a view into the page's link without default values. A view without steps does not change the step."""
    for name, value, default in (("view", view.get("mode"), MODES[0]), ("zoom", view.get("zoom"), 1)):
        if value in (None, default):
            st.query_params.pop(name, None)
        else:
            st.query_params[name] = str(value)
    if step := view.get("step"):
        st.query_params["step"] = str(step)


def _source(png: bytes) -> str:
    """Return a PNG as a data URL."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
