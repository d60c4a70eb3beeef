"""Colours and markers of families and of other categories, the same on every page. Knows no Streamlit."""

from dit_core.ui import format

# Colour and marker per family, in the order of format.FAMILIES. The markers differ too, for readers who cannot tell the
# colours apart; every colour has enough contrast on a light and on a dark background.
STYLES = (
    ("#7A828E", "diamond"),
    ("#3F7BE0", "circle"),
    ("#D8730F", "square"),
    ("#0E9280", "triangle-up"),
    ("#C2478F", "cross"),
    ("#8A63D8", "pentagon"),
    ("#8C7A1E", "hexagon2"),
    ("#2F93B8", "triangle-down"),
    ("#4E8F2F", "hourglass"),
    ("#C74A3C", "star"),
)
OUTLINES = {  # SVG paths of the Plotly markers with these names, at a radius of about 7
    "diamond": "M0-8 8 0 0 8-8 0z",
    "circle": "M-7 0a7 7 0 1 0 14 0 7 7 0 1 0-14 0z",
    "square": "M-6-6H6V6H-6z",
    "triangle-up": "M0-7 7.5 6h-15z",
    "triangle-down": "M0 7 7.5-6h-15z",
    "cross": "M-7-2.5h4.5V-7h5v4.5H7v5H2.5V7h-5V2.5H-7z",
    "pentagon": "M0-7.5 7.1-2.3 4.4 6h-8.8l-2.7-8.3z",
    "hexagon2": "M-7.5 0-3.7-6.5h7.4L7.5 0 3.7 6.5h-7.4z",
    "hourglass": "M-6-7H6L-6 7H6z",
    "star": "M0-8 2-2.6h5.7L3.1.9l1.7 5.6L0 3.1l-4.8 3.4L-3.1.9-7.7-2.6H-2z",
}
INKS = ("#15181E", "#E8EBF0")  # text on a light and on a dark background, as in the themes
LINE, RING, DIM = "#7A828E", "#E0A100", 0.4
PARTS = {  # of a run's time, in the order of the bars; no family's colours, and light next to dark
    "attention": ("attention", "#35435A"),
    "ffn": ("feed-forward", "#9DB0CC"),
    "modulation": ("norms, modulation", "#54688C"),
    "embedding": ("embedders, output", "#CBD5E0"),
    "dequantization": ("restoring weights", "#7B4B2A"),
    "routing": ("routing", "#D1AC88"),
    "sampler": ("sampler", "#5F6B4E"),
    "vae": ("decoder", "#B9C4A0"),
}


def style(family: str) -> tuple[str, str]:
    """Return the colour and the marker of a family; an unknown family never looks like the baseline."""
    if family in format.FAMILIES:
        return STYLES[format.FAMILIES.index(family)]
    return STYLES[1 + sum(family.encode()) % (len(STYLES) - 1)]


def shades(family: str) -> tuple[str, str, str]:
    """Return the colour of a family, a darker and a lighter shade of it, for several lines on one plot."""
    colour = style(family)[0]
    return colour, _mixed(colour, 0, 0.2), _mixed(colour, 255, 0.12)


def swatch(family: str) -> str:
    """Return the marker of a family in its colour as a small SVG, as on the plots."""
    colour, symbol = style(family)
    path = f'<path fill="{colour}" d="{OUTLINES[symbol]}"/>'
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-8 -8 16 16" width="16" height="16">{path}</svg>'


def _mixed(colour: str, end: int, share: float) -> str:
    """Mix a colour with a share of black (`end` 0) or of white (`end` 255)."""
    return "#" + "".join(f"{round((1 - share) * int(colour[i : i + 2], 16) + share * end):02X}" for i in (1, 3, 5))
