"""Colours and shapes: of families, of parts of the time, of text on plots."""

import re
import tomllib
from itertools import pairwise
from pathlib import Path

import pytest

from dit_core.inside import files
from dit_core.recipes.registry import registry
from dit_core.ui import format, style
from dit_core.ui.components import elements
from dit_core.ui.inside.plots import STRONGEST

CONFIG = Path(__file__).resolve().parents[2] / ".streamlit" / "config.toml"
GROUNDS = ("#FFFFFF", "#101317")  # of the two themes in .streamlit/config.toml


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2.2 defines it."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_the_text_of_plots_is_that_of_the_themes_and_is_set_for_all_plots():
    theme = tomllib.loads(CONFIG.read_text())["theme"]
    assert (theme["light"]["textColor"], theme["dark"]["textColor"]) == style.INKS
    assert f"light-dark({', '.join(style.INKS)})" in elements.STYLE


@pytest.mark.parametrize(("ground", "ink"), zip(GROUNDS, style.INKS, strict=True))
@pytest.mark.parametrize("family", files.PANELS)
def test_numbers_are_legible_over_the_fullest_cell_of_every_panel(family, ground, ink):
    full, under = ([int(colour[i : i + 2], 16) for i in (1, 3, 5)] for colour in (style.style(family)[0], ground))
    shares = zip(full, under, strict=True)
    cell = "".join(f"{round(STRONGEST * a + (1 - STRONGEST) * b):02X}" for a, b in shares)
    assert contrast(ink, f"#{cell}") >= 4.5  # WCAG 1.4.3, text


def test_parts_of_the_time_look_like_no_family_and_neighbours_differ_in_lightness():
    colours = [colour for _, colour in style.PARTS.values()]
    for colour in colours:
        for family in format.FAMILIES:
            known = style.style(family)[0]
            assert sum((int(colour[i : i + 2], 16) - int(known[i : i + 2], 16)) ** 2 for i in (1, 3, 5)) > 40**2
    assert all(contrast(*pair) > 2 for pair in pairwise(colours))


@pytest.mark.parametrize("ground", GROUNDS)
def test_shades_of_attention_stand_out_from_both_grounds_and_from_each_other(ground):
    shades = style.shades("attention")
    assert len(set(shades)) == 3
    assert all(contrast(shade, ground) >= 3 for shade in shades)


@pytest.mark.parametrize("ground", GROUNDS)
@pytest.mark.parametrize("family", format.FAMILIES)
def test_every_family_stands_out_from_both_grounds(family, ground):
    assert contrast(style.style(family)[0], ground) >= 3  # WCAG 1.4.11, graphics


def test_families_differ_in_shape_as_well_as_in_colour():
    colours, shapes = zip(*map(style.style, format.FAMILIES), strict=True)
    assert len(set(colours)) == len(set(shapes)) == len(format.FAMILIES)


def test_every_registered_family_has_its_own_style():
    assert {found.family for found in registry().values()} <= set(format.FAMILIES)


def test_an_unknown_family_never_looks_like_the_baseline():
    assert all(style.style(name) != style.style("baseline") for name in ("future", "x", "sparsity", "other"))


@pytest.mark.parametrize("family", format.FAMILIES)
def test_a_swatch_has_the_colour_of_the_plots(family):
    assert re.search(style.style(family)[0], style.swatch(family))


def test_the_script_of_the_pages_survives_the_sanitizer_of_html():
    script = elements.SCRIPT.removeprefix("<script>").removesuffix("</script>")
    assert "<" not in script  # DOMPurify would remove it
    source = (Path(elements.__file__).parent / "page.js").read_text()
    assert not re.search(r"\w <=? \w", source)  # the escape is valid only inside strings
