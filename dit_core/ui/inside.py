"""The frame of the page Inside: which panel is open, and where what it shows comes from."""

import re
from collections.abc import Callable
from typing import Any

import streamlit as st

from dit_core.inside import files
from dit_core.techniques import registry
from dit_core.ui import inside_panels as panels
from dit_core.ui import looks

TITLES = {name: name.capitalize() for name in files.PANELS}


def choose() -> str:
    """The panel of the address, else the first."""
    picked = st.segmented_control(
        "Family", list(TITLES.values()), default=TITLES["quantization"], required=True, key="panel", **panels.URL
    )
    return next(name for name, title in TITLES.items() if title == (picked or TITLES["quantization"]))


@st.fragment
def show(name: str, content: dict[str, Any]) -> None:
    """One panel, its sources and what it was computed from."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.image(looks.swatch(name), width=16, alt=f"The mark of {name} on the plots")
        st.subheader(TITLES[name], width="content", anchor=False)
    SHOW[name](content, content["data"])
    sources(name)
    recovered = " and the bundled recovered weights" if content["recovered"] is not None else ""
    st.caption(
        f"Computed from the weights {content['weights']} of {content['model']}{recovered} by "
        f"`{content['command']}`, on inputs that the network met while it generated."
    )


SHOW: dict[str, Callable[[dict[str, Any], dict[str, Any]], None]] = {
    "quantization": panels.quantization,
    "pruning": panels.pruning,
    "attention": panels.attention,
    "experts": panels.experts,
    "distillation": panels.distillation,
}


def sources(family: str) -> None:
    """What the techniques of a family are, each with a link to its paper."""
    lines = [
        f"- **{found.title}**: {_linked(found.summary)}" for found in registry().values() if found.family == family
    ]
    if family == "distillation":
        lines.append(_linked("- **Likeness of features**: centred kernel alignment (Kornblith, arXiv 1905.00414)."))
    st.markdown("\n".join(["**Papers**", "", *lines]))


def _linked(text: str) -> str:
    """With every arXiv number as a link."""
    return re.sub(r"arXiv (\d{4}\.\d{4,5})", r"[arXiv \1](https://arxiv.org/abs/\1)", text)
