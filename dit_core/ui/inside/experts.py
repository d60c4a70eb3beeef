"""The panel of mixtures of experts: which expert each token runs, and how many tokens each expert gets."""

from typing import Any

import streamlit as st

from dit_core.inside import files
from dit_core.ui import format
from dit_core.ui.components.elements import IN_URL
from dit_core.ui.inside import parts, plots

SIZE_KNOBS = ("experts", "top_k", "shared", "layers")


def panel(content: dict[str, Any], data: dict[str, Any]) -> None:
    """Draw the panel."""
    st.markdown(
        "A mixture of experts splits each feed-forward network into experts. A **router** scores the experts for every "
        "token, and only those with the highest scores run. If the experts have specialized, they appear as regions "
        "of the image. If all tokens use the same few experts, the others are wasted memory."
    )
    mixtures = {_title(run["knobs"]): run for run in data["runs"]}
    moments = [f"t = {t}" for t in data["timesteps"]]
    with st.container(horizontal=True, gap="medium"):
        name = next(iter(mixtures))
        if len(mixtures) > 1:
            name = st.selectbox("Mixture", list(mixtures), key="mixture", **IN_URL)
        run = mixtures[name]
        moment = parts.pick("Timestep", moments, moments[-2], "moment")
        layer = parts.pick_number("Layer", len(run["tokens"]), len(run["tokens"]) // 2, "layer")
    trained = run["knobs"]["recover"] != "none"
    weights = "with its bundled recovered weights" if trained else "without training after the split"
    st.caption(f"{_routing(run['knobs'])}, {weights}. {parts.TIMESTEPS}")
    _assignment(content, data, run["chosen"][moments.index(moment)][layer], moments.index(moment))
    _load(run)


def _assignment(content: dict[str, Any], data: dict[str, Any], experts: list[list[int]], step: int) -> None:
    """The first expert of every token, over the images; `experts` is [image][token]."""
    sheet = files.picture(content, "estimates")
    st.markdown("**Expert with the highest score for each token**, over the image as the network estimates it")
    if sheet is None:
        st.caption(parts.NO_IMAGES)
        return
    with st.grid(parts.COLUMNS, min_column_width=150):
        for place, name in enumerate(data["classes"]):
            tile = plots.tile(sheet, step * parts.COLUMNS + place, parts.COLUMNS)
            st.image(
                plots.expert_overlay(tile, tuple(experts[place])),
                output_format="PNG",
                width="stretch",
                caption=name,
                alt=f"{name}: the experts of the tokens, row by row: {', '.join(str(e + 1) for e in experts[place])}",
            )


def _load(run: dict[str, Any]) -> None:
    """Share of a layer's tokens that each expert gets, over all timesteps or over a range of them."""
    ranges = [f"t from {start}" for start in run["first_timesteps"]]
    chosen = parts.pick("Timesteps", ["all", *ranges], "all", "span")
    counts = [  # tokens per layer and expert
        [sum(column) for column in zip(*layer, strict=True)] if chosen == "all" else layer[ranges.index(chosen)]
        for layer in run["tokens"]
    ]
    shares = [[100 * count / (sum(row) or 1) for count in row] for row in counts]
    experts = max(map(len, shares))
    st.markdown(f"**Tokens per expert**, in percent of the layer's tokens; an even load is {100 / experts:.3g} each")
    parts.matrix(shares, [str(i + 1) for i in range(experts)], "experts", ("Expert", "Layer"), "loads")


def _title(knobs: dict[str, Any]) -> str:
    """The size of a mixture, as links name it: `experts 8, top k 2, shared 1, layers all`."""
    return ", ".join(
        f"{format.knob_label(name).lower()} {format.knob_value(knobs[name])}" for name in SIZE_KNOBS if name in knobs
    )


def _routing(knobs: dict[str, Any]) -> str:
    """Where a token goes: `Each token runs 2 of 8 experts`."""
    shared = " and one shared expert" if knobs.get("shared") else ""
    return f"Each token runs {knobs['top_k']} of {knobs['experts']} experts{shared}"
