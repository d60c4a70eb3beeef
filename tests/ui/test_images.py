"""Sheets for the screen: lossless, enlarged by whole factors."""

import io

import pytest
from PIL import Image

from dit_core.ui import images
from dit_core.ui.components import result
from tests.factory import CLASSES, COLUMNS, TILE, make_sheets

SHEET = make_sheets()["baseline"]


def opened(png: bytes | None) -> Image.Image:
    assert png
    picture = Image.open(io.BytesIO(png))
    assert picture.format == "PNG"
    return picture


def test_every_pixel_is_repeated_and_none_is_changed():
    before, after = Image.open(io.BytesIO(SHEET)).convert("RGB"), opened(images.enlarge(SHEET, 700))
    factor = after.width // before.width
    assert after.width == before.width * factor >= 700
    assert after.resize(before.size, Image.Resampling.NEAREST).tobytes() == before.tobytes()
    assert len(after.getcolors()) == len(before.getcolors())


def test_tiles_keep_their_colours_in_another_arrangement():
    before = Image.open(io.BytesIO(SHEET)).convert("RGB")
    after = opened(images.labelled(SHEET, TILE, COLUMNS, CLASSES, across=8))
    step = after.width / 8
    for i in range(len(CLASSES)):
        original = before.getpixel((i % COLUMNS * TILE + 9, i // COLUMNS * TILE + 9))
        assert after.getpixel((int((i + 0.5) * step), 40))[:3] == original


def test_two_sheets_side_by_side_are_taken_away_as_one():
    one = images.labelled(SHEET, TILE, COLUMNS, CLASSES, across=4)
    both = opened(images.beside([("Baseline", one), ("Quantization", one), ("Missing", None)]))
    assert both.width > 2 * opened(one).width


@pytest.mark.parametrize("damaged", [b"", b"nothing", SHEET[:60]])
def test_a_damaged_picture_is_none(damaged):
    assert images.enlarge(damaged) is None
    assert images.labelled(damaged, TILE, COLUMNS, CLASSES, across=4) is None
    assert images.strip(damaged, TILE, COLUMNS, (0, 1)) is None


def test_a_sheet_on_the_screen_is_not_so_wide_that_it_is_resampled():
    many = ("cat",) * 36
    assert opened(images.labelled(SHEET, TILE, COLUMNS, many, result.BASELINE_ACROSS)).width <= 1460  # of Streamlit
