"""The panel of attention: the attention map of one token under every kind of attention."""

from typing import Any

import streamlit as st

from dit_core.inside import files
from dit_core.ui.inside import parts, plots


def panel(content: dict[str, Any], data: dict[str, Any]) -> None:
    """Draw the panel."""
    st.markdown(
        f"The network sees an image as {data['grid'] ** 2} tokens. In softmax attention every token weighs all other "
        "tokens, so the work grows with the square of the number of tokens. The cheaper kinds avoid this: a few "
        "**mediator** tokens collect and distribute the information, keys are **pooled**, tokens see only their "
        "**window**, heads **share** keys, or a **linear** kernel replaces the exponential. Each kind can be written "
        "as an attention map. Here each one replaces softmax in the same trained network, before recovery training."
    )
    moments = [f"noisy, t = {data['timesteps'][0]}", *(f"late, t = {t}" for t in data["timesteps"][1:])]
    grid, depth = data["grid"], len(data["maps"]["softmax"][0])
    with st.container(horizontal=True, gap="medium"):
        name = parts.pick("Image", data["classes"], data["classes"][len(data["classes"]) // 2], "picture")
        moment = parts.pick("Timestep", moments, moments[-1], "moment")
        block = parts.pick_number("Block", depth, depth - 1, "block")
        row = parts.pick_number("Token: row", grid, grid // 2, "row")
        column = parts.pick_number("Token: column", grid, grid // 2, "column")
    st.caption(parts.TIMESTEPS)
    _maps(content, data, (moments.index(moment), block, data["classes"].index(name)), row * grid + column)
    _overlap(data, depth)


def _maps(content: dict[str, Any], data: dict[str, Any], index: tuple[int, int, int], token: int) -> None:
    """The attention of one token in every kind, over the image; `index` is (timestep, block, image)."""
    step, block, place = index
    sheet = files.picture(content, "estimates")
    st.markdown("**Attention of the marked token**, in percent, mean over the heads")
    if sheet is None:
        st.caption(parts.NO_IMAGES)
        return
    tile = plots.tile(sheet, step * parts.COLUMNS + place, parts.COLUMNS)
    with st.grid("auto", min_column_width=150):
        for kind in ["softmax", *(kind for kind in data["kinds"] if kind != "softmax")]:
            weights = data["maps"][kind][step][block][place][token]
            with st.container(gap="xxsmall"):
                title = _title(data, kind).capitalize()
                st.caption(f"**{title}**" if kind == "softmax" else title)
                largest = max(range(len(weights)), key=weights.__getitem__)
                st.image(
                    plots.attention_overlay(tile, tuple(weights), token, "attention"),
                    output_format="PNG",
                    width="stretch",
                    alt=f"{title}: the token attends most to row {largest // data['grid'] + 1}, column "
                    f"{largest % data['grid'] + 1}, with {weights[largest]} percent",
                )


def _overlap(data: dict[str, Any], depth: int) -> None:
    """How much of each token's softmax attention the other kinds keep, by block."""
    st.markdown(
        f"**Overlap with softmax attention**, in percent, mean over all tokens and heads of {data['inputs']} inputs; "
        "100 means that the attention maps are the same"
    )
    values = [[100 * share for share in row] for row in data["kept"].values()]
    kinds, blocks = [_title(data, kind) for kind in data["kept"]], [str(i + 1) for i in range(depth)]
    alt = "; ".join(f"{kind}: {min(row):.0f} to {max(row):.0f} %" for kind, row in zip(kinds, values, strict=True))
    figure = plots.heatmap(values, blocks, kinds, "attention", titles=("Block", ""), texts=parts.cells(values))
    parts.chart(figure, "kept", f"{alt}.")


def _title(data: dict[str, Any], kind: str) -> str:
    return data["kinds"][kind].removesuffix(" attention")
