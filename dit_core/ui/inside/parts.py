"""Inputs, tables and image strips that several panels of the page Inside share."""

from collections.abc import Callable, Sequence
from typing import Any

import streamlit as st

from dit_core.inside import files
from dit_core.ui import format, images
from dit_core.ui.components import ignored
from dit_core.ui.components.elements import IN_URL
from dit_core.ui.inside import plots

LAYERS = {  # the layers of a block in the order in which they run; the titles are part of links
    "adaLN_modulation.1": "modulation",
    "attn.qkv": "attention in (q, k, v)",
    "attn.proj": "attention out",
    "mlp.fc1": "feed-forward in",
    "mlp.fc2": "feed-forward out",
}
COLUMNS = 4  # images in a row of a panel's sheet
NO_IMAGES = "The images are missing or damaged."
TIMESTEPS = "Timestep t: 999 is pure noise, 0 is the finished image."
Title = Callable[[Any], str]


def pick(label: str, options: Sequence[Any], default: Any, key: str, title: Title = str) -> Any:
    """A choice among a few options, bound to the link; returns the chosen option."""
    picked = st.segmented_control(
        label, options, default=default, required=True, key=key, format_func=title, wrap=True, **IN_URL
    )
    chosen = default if picked is None else picked
    ignored.told(key, title(chosen))
    return chosen


def pick_number(label: str, count: int, default: int, key: str) -> int:
    """A choice of an index from 0, shown from 1."""
    return pick(label, list(range(count)), default, key, lambda index: str(index + 1))


def chart(figure: dict[str, Any], key: str, alt: str) -> None:
    """A Plotly figure with its description for screen readers."""
    st.plotly_chart(figure, key=f"inside-{key}", config=plots.CONFIG, alt=alt)


def layer_table(values: dict[str, float], family: str, key: str) -> None:
    """A table of one share per layer and block, in percent; `values` is keyed by the layer's name in the network."""
    depth = 1 + max(map(block_of, values))
    shares = [[values.get(f"blocks.{i}.{layer}") for i in range(depth)] for layer in LAYERS]
    percents = [[None if share is None else 100 * share for share in row] for row in shares]
    blocks = [str(i + 1) for i in range(depth)]
    largest = max(values, key=lambda name: values[name])
    chart(
        plots.heatmap(percents, blocks, list(LAYERS.values()), family, titles=("Block", ""), texts=cells(percents)),
        key,
        f"Percent by layer and block. Largest: {100 * values[largest]:.3g} % in "
        f"{LAYERS[largest.split('.', 2)[2]]} of block {block_of(largest) + 1}.",
    )
    st.caption("In percent; a stronger colour means more.")


def matrix(values: Any, columns: list[str], family: str, titles: tuple[str, str], key: str) -> None:
    """A table with numbered rows; `titles` are those of the columns and of the rows."""
    texts = cells(values)
    rows = [str(i + 1) for i in range(len(values))]
    alt = "; ".join(f"{titles[1].lower()} {i + 1}: {', '.join(row)}" for i, row in enumerate(texts))
    chart(plots.heatmap(values, columns, rows, family, titles=titles, texts=texts), key, f"{alt}.")


def image_rows(content: dict[str, Any], picture: str, rows: dict[str, int], title: str) -> None:
    """Rows of a panel's sheet under a title; `rows` gives their indices by name."""
    sheet = files.picture(content, picture)
    st.markdown(f"**{title}**")
    if sheet is None:
        st.caption(NO_IMAGES)
        return
    edge = images.size_of(plots.tile(sheet, 0, COLUMNS))[0]
    with st.grid(len(rows), min_column_width=240):
        for name, row in rows.items():
            strip = images.strip(sheet, edge, COLUMNS, tuple(range(row * COLUMNS, (row + 1) * COLUMNS)))
            if strip:
                with st.container(gap="xxsmall"):
                    st.caption(name)
                    st.image(strip, output_format="PNG", width="stretch", alt=f"{name}: {COLUMNS} images")


def cells(rows: Any) -> list[list[str]]:
    """The texts of a table's cells: two significant digits, or nothing."""
    return [["" if value is None else format.significant(value, 2) for value in row] for row in rows]


def percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def block_of(layer: str) -> int:
    """The index of the block that a layer's name, `blocks.3.attn.qkv`, refers to."""
    return int(layer.split(".")[1])
