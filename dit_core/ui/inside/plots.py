"""Plotly figures of the page Inside, and images with values of their tokens drawn over them. Knows no Streamlit."""

import io
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from dit_core.ui import style

Grid = Sequence[Sequence[float | None]]
CONFIG = {"displayModeBar": False}
STRONGEST = 0.7  # opacity of the largest value: numbers over it stay legible on a light and on a dark background
EDGE, FONT = 240, 22  # pixels: edge of an image, and height of the numbers on it
MARGIN = {"l": 8, "r": 8, "t": 24, "b": 8}


def heatmap(
    values: Grid, x: Sequence[str], y: Sequence[str], family: str, *, titles: tuple[str, str], texts: Any = None
) -> dict[str, Any]:
    """Return a table with `texts` in the cells, rows from the top; the colour is stronger for larger values."""
    colour = style.style(family)[0]
    top = max((value for row in values for value in row if value is not None), default=1.0) or 1.0
    trace = {
        "type": "heatmap",
        "z": [list(row) for row in values],
        "x": list(x),
        "y": list(y),
        "zmin": 0,
        "zmax": top,
        "colorscale": [[0, tint(colour, 0)], [1, tint(colour, STRONGEST)]],
        "showscale": False,
        "xgap": 1,
        "ygap": 1,
        "customdata": texts,
        "hovertemplate": f"{titles[1]} %{{y}}, {titles[0].lower()} %{{x}}: "
        + ("%{customdata}" if texts else "%{z}")
        + "<extra></extra>",
    }
    notes = [
        {"x": j, "y": i, "text": text, "showarrow": False, "font": {"size": 11}}
        for i, row in enumerate(texts or ())
        for j, text in enumerate(row)
    ]
    layout = {
        "height": 70 + 30 * len(y),
        "margin": MARGIN,
        "annotations": notes,
        "xaxis": {"title": {"text": titles[0]}, "type": "category", "showgrid": False},
        "yaxis": {"title": {"text": titles[1]}, "type": "category", "autorange": "reversed", "showgrid": False},
    }
    return {"data": [trace], "layout": layout}


def histogram(before: Sequence[int], after: Sequence[int], end: float) -> dict[str, Any]:
    """Return counts of weights between -end and end: a line before rounding, bars after it."""
    width = 2 * end / len(before)
    centres = [-end + (i + 0.5) * width for i in range(len(before))]
    colour = style.style("quantization")[0]
    bars = {"type": "bar", "name": "After rounding", "x": centres, "y": list(after), "marker": {"color": colour}}
    line = {
        "type": "scatter",
        "mode": "lines",
        "name": "Before",
        "x": centres,
        "y": list(before),
        "line": {"color": style.LINE, "shape": "hvh", "width": 2},
    }
    return _plot([bars, line], "Weight", "Number of weights", bargap=0.15)


def rounding(before: Sequence[float], after: Sequence[float]) -> dict[str, Any]:
    """Return one group of weights, value after rounding against value before; on the line nothing changed."""
    colour, symbol = style.style("quantization")
    ends = [min(before), max(before)]
    same = {"type": "scatter", "mode": "lines", "name": "No change", "x": ends, "y": ends}
    marks = {"type": "scatter", "mode": "markers", "name": "A weight", "x": list(before), "y": list(after)}
    return _plot(
        [
            {**same, "line": {"color": style.LINE, "width": 1.6}},
            {**marks, "marker": {"color": colour, "symbol": symbol, "size": 7}},
        ],
        "Before",
        "After rounding",
    )


def bars(values: Sequence[float], names: Sequence[str], family: str, titles: tuple[str, str], dim: Any) -> dict:
    """Return one bar per value; those with an index in `dim` are faint and hatched."""
    marker = {
        "color": style.style(family)[0],
        "opacity": [style.DIM if i in dim else 1 for i in range(len(values))],
        "pattern": {"shape": ["/" if i in dim else "" for i in range(len(values))]},
    }
    figure = _plot([{"type": "bar", "x": list(names), "y": list(values), "marker": marker}], *titles)
    figure["layout"]["xaxis"]["type"] = "category"
    return figure


def curves(lines: Sequence[Sequence[float]], family: str, titles: tuple[str, str]) -> dict[str, Any]:
    """Return cumulative shares from 0 to 100 %, one line per block; the dotted line is an even distribution."""
    colour = style.style(family)[0]
    traces: list[dict[str, Any]] = [
        {
            "type": "scatter",
            "mode": "lines",
            "name": f"Block {i + 1}",
            "x": [100 * step / (len(line) - 1) for step in range(len(line))],
            "y": [100 * share for share in line],
            "line": {"color": colour, "width": 1.4},
        }
        for i, line in enumerate(lines)
    ]
    even = {"type": "scatter", "mode": "lines", "name": "Even", "x": [0, 100], "y": [0, 100]}
    traces.append({**even, "line": {"color": style.LINE, "dash": "dot", "width": 1.6}})
    figure = _plot(traces, *titles)
    figure["layout"]["showlegend"] = False
    return figure


@lru_cache(maxsize=256)
def attention_overlay(picture: bytes, weights: tuple[int, ...], token: int, family: str) -> bytes:
    """Return the image as PNG with the attention of `token` to each of its tokens, in percent; `token` is outlined."""
    canvas, draw, side = _canvas(picture, len(weights))
    top, colour = max(*weights, 1), style.style(family)[0]
    for place, weight in enumerate(weights):
        _cell(canvas, _box(place, side), colour, STRONGEST * weight / top, str(weight) if weight else "")
    draw.rectangle(_box(token, side), outline=style.RING, width=6)
    return _png(canvas)


@lru_cache(maxsize=256)
def expert_overlay(picture: bytes, experts: tuple[int, ...]) -> bytes:
    """Return the image as PNG with the expert of each token over it, as a number from 1 and a colour."""
    canvas, _, side = _canvas(picture, len(experts))
    for place, expert in enumerate(experts):
        _cell(canvas, _box(place, side), style.STYLES[expert % len(style.STYLES)][0], 0.55, str(expert + 1))
    return _png(canvas)


@lru_cache(maxsize=64)
def tile(sheet: bytes, index: int, columns: int) -> bytes:
    """Return one square tile of a sheet with `columns` tiles in a row, as PNG."""
    with Image.open(io.BytesIO(sheet)) as opened:
        edge = opened.width // columns
        left, top = index % columns * edge, index // columns * edge
        return _png(opened.convert("RGB").crop((left, top, left + edge, top + edge)))


def tint(colour: str, opacity: float) -> str:
    """Return the CSS notation of a colour with an opacity."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red}, {green}, {blue}, {opacity})"


def _plot(traces: list[dict[str, Any]], x: str, y: str, **layout: Any) -> dict[str, Any]:
    axes = {"xaxis": {"title": {"text": x}, "zeroline": False}, "yaxis": {"title": {"text": y}, "zeroline": False}}
    legend = {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"}
    return {"data": traces, "layout": {"height": 300, "margin": MARGIN, "legend": legend, **axes, **layout}}


def _canvas(picture: bytes, tokens: int) -> tuple[Image.Image, ImageDraw.ImageDraw, int]:
    """The image enlarged and faded, and the number of tokens along its side."""
    side = round(tokens**0.5)
    edge = EDGE // side * side
    with Image.open(io.BytesIO(picture)) as opened:
        canvas = opened.convert("RGB").resize((edge, edge), Image.Resampling.NEAREST)
    canvas = Image.blend(canvas, Image.new("RGB", canvas.size, "white"), 0.35)
    return canvas, ImageDraw.Draw(canvas), side


def _box(place: int, side: int) -> tuple[int, int, int, int]:
    cell = EDGE // side
    left, top = place % side * cell, place // side * cell
    return left, top, left + cell - 1, top + cell - 1


def _cell(canvas: Image.Image, box: tuple[int, int, int, int], colour: str, opacity: float, text: str) -> None:
    size = box[2] - box[0], box[3] - box[1]
    ground = canvas.crop((*box[:2], box[0] + size[0], box[1] + size[1]))
    canvas.paste(Image.blend(ground, Image.new("RGB", size, colour), opacity), box[:2])
    middle = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    font = ImageFont.load_default(size=FONT)
    ImageDraw.Draw(canvas).text(
        middle, text, font=font, fill="#15181E", anchor="mm", stroke_width=2, stroke_fill="white"
    )


def _png(picture: Image.Image) -> bytes:
    data = io.BytesIO()
    picture.save(data, "PNG")
    return data.getvalue()
