"""The panel of pruning: which weights, heads, neurons and blocks matter little, and what removing them costs."""

from typing import Any

import streamlit as st

from dit_core.ui.inside import parts, plots

SCOPES = {"layer": "the same share of every layer", "global": "the smallest of the network", "2:4": "two of four"}


def panel(content: dict[str, Any], data: dict[str, Any]) -> None:
    """Draw the panel."""
    st.markdown(
        "Most weights are small, and removing the small ones changes the network little. **Unstructured** pruning "
        "removes the smallest weights anywhere. **2:4** pruning removes two of every four weights, a pattern that "
        "some GPUs can skip; it therefore also removes larger ones. **Width** pruning removes whole attention heads "
        "and neurons, **depth** pruning whole blocks. A block matters most if its output points in a different "
        "direction than its input."
    )
    _weights(content, data)
    heads, neurons = st.columns(2, gap="medium")
    with heads:
        _heads(data["units"]["heads"])
    with neurons:
        _neurons(data["units"]["neurons"])
    _blocks(data["blocks"])


def _weights(content: dict[str, Any], data: dict[str, Any]) -> None:
    """Zeros and lost energy by layer, and the images of the pruned network."""
    with st.container(horizontal=True, gap="medium"):
        scope = parts.pick("Removed weights", list(SCOPES), "layer", "way", SCOPES.__getitem__)
        sparsity = 0.5
        if scope != "2:4":
            sparsity = parts.pick("Share removed", data["sparsities"], 0.5, "sparsity", parts.percent)
    key = scope if scope == "2:4" else f"{scope} {sparsity}"
    layers = data["zeros"][key]
    for quantity, title in (
        ("zeros", "**Zeros**, in percent of each layer's weights"),
        ("lost", "**Loss**, in percent of the sum of the layer's squared weights; lower means less was lost"),
    ):
        st.markdown(title)
        parts.layer_table({name: layer[quantity] for name, layer in layers.items()}, "pruning", quantity)
    pruned = f"{parts.percent(sparsity)} zeros, {SCOPES[scope]}"
    rows = {"Baseline": 0, pruned: 1 + list(data["zeros"]).index(key)}
    parts.image_rows(content, "samples", rows, "Images from the same noise, before recovery training")


def _heads(contributions: list[list[float]]) -> None:
    st.markdown("**Contribution of each head**, in percent of the strongest head of its block")
    values = [[100 * head / max(row) for head in row] for row in contributions]
    numbers = [str(i + 1) for i in range(len(values[0]))]
    parts.matrix(values, numbers, "pruning", ("Head", "Block"), "heads")


def _neurons(curves: list[list[float]]) -> None:
    st.markdown("**Contribution of the strongest neurons**, one line per block")
    half = [curve[len(curve) // 2] for curve in curves]
    parts.chart(
        plots.curves(curves, "pruning", ("Strongest neurons kept, %", "Share of the contribution, %")),
        "neurons",
        f"The stronger half of the neurons contributes {parts.percent(min(half))} to {parts.percent(max(half))}.",
    )


def _blocks(data: dict[str, Any]) -> None:
    """Two measures of how much each block matters."""
    kept, names = data["kept"]["influence"], [str(i + 1) for i in range(len(data["influence"]))]
    removed = [i for i in range(len(names)) if i not in kept]
    left, right = st.columns(2, gap="medium")
    hatched = "depth pruning removes the hatched blocks"
    for column, quantity, title, axis in (
        (left, "influence", f"**Block influence**, 1 − cosine of input and output; {hatched}", "Influence"),
        (right, "error", f"**Output error** if only this block is removed; {hatched}", "Relative error"),
    ):
        with column:
            st.markdown(title)
            values = data[quantity]
            largest = max(range(len(names)), key=values.__getitem__)
            figure = plots.bars(values, names, "pruning", ("Block", axis), removed)
            parts.chart(figure, quantity, f"{axis} by block. Largest: {values[largest]:.2g} in block {largest + 1}.")
