"""The panel of quantization: the weights of a layer before and after rounding, and the error of every layer."""

from typing import Any

import streamlit as st

from dit_core.ui.charts import pareto_plot
from dit_core.ui.components import ignored
from dit_core.ui.components.elements import IN_URL
from dit_core.ui.inside import parts, plots

METHODS = {"nearest": "nearest", "hqq": "HQQ", "gptq": "GPTQ"}
ERRORS = {"outputs": "the layer's output", "weights": "the weights", "network": "the network's output"}


def panel(content: dict[str, Any], data: dict[str, Any]) -> None:
    """Draw the panel."""
    st.markdown(
        "Quantization stores every weight as one of a few levels: with **b bits there are 2ᵇ levels**, so 256 at 8 "
        f"bits, 16 at 4 bits and 4 at 2 bits. Each group of {data['group_size']} weights in a row has its own scale. "
        "Removing one bit roughly doubles the error. HQQ optimizes the levels. GPTQ rounds one weight after the other "
        "and adjusts the remaining ones to compensate: the error of its weights is larger, but the error of the "
        "layer's output is smaller."
    )
    bits, method, block, layer = _inputs(data)
    left, right = st.columns(2, gap="medium")
    with left:
        st.markdown(f"**All weights of this layer**, before and after {METHODS[method]} rounding to {bits} bits")
        weight_histogram(data, block, layer, method, bits)
    with right:
        st.markdown(f"**One group of {data['group_size']} weights**, rounded to {2**bits} levels")
        drawn = data["layers"][f"blocks.{block}.{layer}"]
        after = drawn["group_after"][method][str(bits)]
        parts.chart(
            plots.rounding(drawn["group"], after),
            "group",
            f"{len(drawn['group'])} weights before and after rounding. Different values left: {len(set(after))}.",
        )
    _layer_errors(data, method, bits)
    rows = {"Baseline": 0, f"{bits} bits, nearest": 1 + data["bits"].index(bits)}
    parts.image_rows(content, "samples", rows, "Images from the same noise, with every layer of every block rounded")


def weight_histogram(
    data: dict[str, Any], block: int, layer: str, method: str, bits: int, *, large: bool = False
) -> None:
    """A histogram of a layer's weights before and after rounding; `large` enlarges its text for a projector."""
    drawn = data["layers"][f"blocks.{block}.{layer}"]
    before, after = drawn["before"], drawn["after"][method][str(bits)]
    used_before, used_after = (sum(count > 0 for count in counts) for counts in (before, after))
    figure = plots.histogram(before, after, drawn["end"])
    parts.chart(
        pareto_plot.enlarged(figure) if large else figure,
        f"counts-{bits}",
        f"Histogram of the weights of {parts.LAYERS[layer]} in block {block + 1}: {used_after} of {len(after)} bins "
        f"are occupied after rounding to {bits} bits, {used_before} before.",
    )


def _inputs(data: dict[str, Any]) -> tuple[int, str, int, str]:
    """Bits, rounding method, block from 0, and layer."""
    blocks = sorted({parts.block_of(name) for name in data["layers"]})
    with st.container(horizontal=True, gap="medium"):
        bits = parts.pick("Bits", data["bits"], 4, "bits")
        methods = [name for name in METHODS if str(bits) in next(iter(data["errors"]["outputs"][name].values()))]
        method = parts.pick("Method", methods, methods[0], "method", METHODS.__getitem__)
        block = parts.pick("Block", blocks, blocks[len(blocks) // 2], "block", lambda index: str(index + 1))
        titles = parts.LAYERS
        layer = st.selectbox("Layer", list(titles), 1, format_func=titles.__getitem__, key="layer", width=230, **IN_URL)
        ignored.told("layer", titles[layer])
    return bits, method, block, layer


def _layer_errors(data: dict[str, Any], method: str, bits: int) -> None:
    """The relative error that rounding causes, by layer and block."""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown("**Relative error by layer**, measured on", width="content")
        measure = st.segmented_control(
            "Error of",
            [name for name in ERRORS if method in data["errors"][name]],
            default="outputs",
            required=True,
            format_func=ERRORS.__getitem__,
            label_visibility="collapsed",
            key="error",
            **IN_URL,
        )
    ignored.told("error", ERRORS[measure or "outputs"])
    errors = data["errors"][measure or "outputs"][method]
    parts.layer_table({name: by_bits[str(bits)] for name, by_bits in errors.items()}, "quantization", "errors")
    if measure == "network":
        st.caption(f"Only one layer is rounded at a time. Computed on {data['inputs']} inputs.")
