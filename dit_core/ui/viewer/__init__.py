"""Pictures compared in the browser: side by side, divider, flicker, amplified difference, with one zoom for all.

A Streamlit component of its own HTML, CSS and JavaScript, which lie beside this file; it fetches nothing.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import streamlit as st

_PARTS = {kind: (Path(__file__).parent / f"viewer.{kind}").read_text() for kind in ("html", "css", "js")}
_component = st.components.v2.component("dit_viewer", **_PARTS)


@dataclass(frozen=True)
class Picture:
    """A sheet as PNG, its title, and what it is called for those who hear the page."""

    title: str
    png: bytes
    alt: str


def viewer(pictures: Sequence[Picture], columns: int, labels: Sequence[str], *, key: str) -> None:
    """Show sheets of equal size, `columns` tiles in a row; `labels` names each tile."""
    rows = -(-len(labels) // columns)
    shown = [{"title": one.title, "alt": one.alt, "source": _source(one.png)} for one in pictures]
    _component(key=key, data={"pictures": shown, "columns": columns, "rows": rows, "labels": list(labels)})


def _source(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
