"""The frame of the page Inside: the choice of a panel, the panel, its sources and how it was computed."""

import re
from collections.abc import Callable
from typing import Any

import streamlit as st

from dit_core.inside import files
from dit_core.recipes.registry import registry
from dit_core.ui import style
from dit_core.ui.components.elements import IN_URL
from dit_core.ui.inside import attention, caching, distillation, experts, pruning, quantization

PANELS: dict[str, Callable[[dict[str, Any], dict[str, Any]], None]] = {
    "quantization": quantization.panel,
    "pruning": pruning.panel,
    "attention": attention.panel,
    "experts": experts.panel,
    "distillation": distillation.panel,
    "caching": caching.panel,
}
TITLES = {name: name.capitalize() for name in files.PANELS}
METRICS = {"distillation": "- **Similarity of features**: centred kernel alignment (Kornblith, arXiv 1905.00414)."}


def choose() -> str:
    """Return the name of the panel that the link or the visitor chose; the first one by default."""
    first = next(iter(TITLES))
    title = st.segmented_control(
        "Family", list(TITLES.values()), default=TITLES[first], required=True, key="panel", **IN_URL
    )
    return next(name for name, known in TITLES.items() if known == (title or TITLES[first]))


@st.fragment
def show(name: str, content: dict[str, Any]) -> None:
    """A panel with its papers and the command that computed it."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.image(style.swatch(name), width=16, alt=f"The mark of {name} on the plots")
        st.subheader(TITLES[name], width="content", anchor=False)
    PANELS[name](content, content["data"])
    st.markdown(papers(name))
    recovered = " and the bundled recovered weights" if content["recovered"] is not None else ""
    st.caption(
        f"Computed by `{content['command']}` from the weights {content['weights']} of {content['model']}{recovered}, "
        "on inputs that the network receives while it generates images."
    )


def papers(family: str) -> str:
    """Return the techniques of a family and their papers as a Markdown list with links."""
    lines = [f"- **{known.title}**: {known.summary}" for known in registry().values() if known.family == family]
    lines += [METRICS[family]] if family in METRICS else []
    return "\n".join(["**Papers**", "", *map(_with_links, lines)])


def _with_links(text: str) -> str:
    """Turn every arXiv number into a link."""
    return re.sub(r"arXiv (\d{4}\.\d{4,5})", r"[arXiv \1](https://arxiv.org/abs/\1)", text)
