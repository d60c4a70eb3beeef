"""The panel of caching: which denoising step computes which block."""

from typing import Any

import streamlit as st

from dit_core.ui import format
from dit_core.ui.components.elements import IN_URL
from dit_core.ui.inside import parts, plots


def panel(content: dict[str, Any], data: dict[str, Any]) -> None:
    """Draw the panel."""
    st.markdown(
        "What a block adds changes slowly from one denoising step to the next, except at the start. Caching computes a "
        "block in **some of the steps** and reuses or forecasts its features in the others. Guidance runs every block "
        "**twice**, with the class and without: the second pass can be left out in some steps."
    )
    runs = {_title(run["knobs"]): (row, run) for row, run in enumerate(data["runs"], start=1)}
    title = st.selectbox("Method", list(runs), key="method", **IN_URL)
    row, run = runs[title or next(iter(runs))]
    counts = run["evaluations"]
    steps, blocks = [str(i + 1) for i in range(len(counts))], [str(i + 1) for i in range(len(counts[0]))]
    by_block = [[step[block] for step in counts] for block in range(len(blocks))]
    share = sum(map(sum, counts)) / (data["branches"] * len(steps) * len(blocks))
    st.markdown("**Evaluations of each block**, per image and step; the darkest colour is both branches of guidance")
    figure = plots.heatmap(by_block, steps, blocks, "caching", titles=("Step", "Block"))
    parts.chart(figure, "evaluations", f"{title}: {parts.percent(share)} of all evaluations of blocks are computed.")
    st.caption(f"{parts.percent(share)} of the baseline's evaluations of blocks are computed.")
    parts.image_rows(content, "samples", {"Baseline": 0, str(title): row}, "Images from the same noise")


def _title(knobs: dict[str, Any]) -> str:
    title = format.technique_title(knobs["name"])
    return f"{title}, {knobs['method']}" if "method" in knobs else title
