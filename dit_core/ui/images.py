"""Sample sheets as PNG: enlarged by nearest neighbour, labelled, cut into tiles. Imports no Streamlit."""

import io
from collections.abc import Sequence
from functools import lru_cache

from PIL import Image, ImageDraw, ImageFont

GAP, LABEL_HEIGHT, LABEL_SIZE, GREY = 12, 38, 25, (125, 133, 146, 255)  # a grey that is legible on both themes
PREVIEW_WIDTH = 768


def enlarge(data: bytes, width: int = PREVIEW_WIDTH) -> bytes | None:
    """Return a picture enlarged by an integer factor to at least `width` pixels; None if the data are damaged."""
    picture = _open(data)
    if picture is None:
        return None
    factor = max(1, -(-width // picture.width))
    return _png(picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST))


@lru_cache(maxsize=128)
def labelled(
    data: bytes, tile: int, columns: int, labels: tuple[str, ...], across: int, edge: int = 128
) -> bytes | None:
    """Return the tiles of a sheet, `across` in a row, each enlarged to about `edge` pixels, with its label below.

    `columns` is the number of tiles in a row of the sheet. The background is transparent, which suits both themes.
    None if the data are damaged.
    """
    sheet = _open(data)
    if sheet is None or not labels or tile < 1 or columns < 1:
        return None
    edge = tile * max(1, round(edge / tile))
    across = min(across, len(labels))
    rows = -(-len(labels) // across)
    size = (across * (edge + GAP) - GAP, rows * (edge + LABEL_HEIGHT + GAP) - GAP)
    picture = Image.new("RGBA", size, (0, 0, 0, 0))
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(size=LABEL_SIZE)
    for i, label in enumerate(labels):
        left, top = i % columns * tile, i // columns * tile
        piece = sheet.crop((left, top, left + tile, top + tile)).resize((edge, edge), Image.Resampling.NEAREST)
        x, y = i % across * (edge + GAP), i // across * (edge + LABEL_HEIGHT + GAP)
        picture.paste(piece, (x, y))
        draw.text((x + edge / 2, y + edge + 5), label, font=font, fill=GREY, anchor="ma")
    return _png(picture)


@lru_cache(maxsize=64)
def strip(data: bytes, tile: int, columns: int, picked: tuple[int, ...], edge: int = 96) -> bytes | None:
    """Return one row of the tiles at the indices `picked`, without labels; None if the data are damaged."""
    sheet = _open(data)
    if sheet is None or not picked:
        return None
    picture = Image.new("RGBA", (len(picked) * (edge + GAP) - GAP, edge), (0, 0, 0, 0))
    for position, i in enumerate(picked):
        left, top = i % columns * tile, i // columns * tile
        piece = sheet.crop((left, top, left + tile, top + tile)).resize((edge, edge), Image.Resampling.NEAREST)
        picture.paste(piece, (position * (edge + GAP), 0))
    return _png(picture)


@lru_cache(maxsize=64)
def tiles(data: bytes, tile: int, columns: int, picked: tuple[int, ...], across: int) -> bytes | None:
    """Return the tiles at the indices `picked` at their own size, `across` in a row without gaps, on white.

    None if the data are damaged.
    """
    sheet = _open(data)
    if sheet is None or not picked or tile < 1 or columns < 1:
        return None
    picture = Image.new("RGB", (across * tile, -(-len(picked) // across) * tile), (255, 255, 255))
    for position, i in enumerate(picked):
        left, top = i % columns * tile, i // columns * tile
        piece = sheet.crop((left, top, left + tile, top + tile)).convert("RGB")
        picture.paste(piece, (position % across * tile, position // across * tile))
    return _png(picture)


def beside(pictures: Sequence[tuple[str, bytes | None]]) -> bytes:
    """Return pictures side by side on white with their titles above, as a file to download. Skips missing ones."""
    opened = [(title, picture) for title, data in pictures if data and (picture := _open(data))]
    margin, head = 24, 44
    width = margin + sum(picture.width + margin for _, picture in opened)
    height = head + max((picture.height for _, picture in opened), default=0) + margin
    canvas = Image.new("RGBA", (max(width, 1), height), (255, 255, 255, 255))
    draw, font, x = ImageDraw.Draw(canvas), ImageFont.load_default(size=20), margin
    for title, picture in opened:
        draw.text((x, 12), title, font=font, fill=(21, 24, 30, 255))
        canvas.alpha_composite(picture.convert("RGBA"), (x, head))
        x += picture.width + margin
    return _png(canvas.convert("RGB"))


@lru_cache(maxsize=8)
def empty(size: tuple[int, int] = (PREVIEW_WIDTH, PREVIEW_WIDTH)) -> bytes:
    """Return a placeholder for a picture that does not exist yet."""
    picture = Image.new("RGBA", size, (0, 0, 0, 0))
    edge = (1, 1, size[0] - 2, size[1] - 2)
    ImageDraw.Draw(picture).rounded_rectangle(edge, 12, fill=(*GREY[:3], 22), outline=(*GREY[:3], 110), width=2)
    return _png(picture)


def size_of(png: bytes) -> tuple[int, int]:
    """Return width and height of an undamaged picture."""
    return Image.open(io.BytesIO(png)).size


def _open(data: bytes) -> Image.Image | None:
    try:
        picture = Image.open(io.BytesIO(data))
        picture.load()
    except Exception:  # a damaged file can make a parser raise any
        return None
    return picture if picture.mode == "RGBA" else picture.convert("RGB")


def _png(picture: Image.Image) -> bytes:
    data = io.BytesIO()
    picture.save(data, "PNG")
    return data.getvalue()
