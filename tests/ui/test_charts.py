"""Colour and shape of a family."""

import re

import pytest

from dit_core.techniques import registry
from dit_core.ui import charts, words

GROUNDS = ("#FFFFFF", "#101317")  # of the two themes in .streamlit/config.toml


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2.2 defines it."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("ground", GROUNDS)
@pytest.mark.parametrize("family", words.FAMILIES)
def test_every_family_stands_out_from_both_grounds(family, ground):
    light, dark = sorted((luminance(charts.style(family)[0]), luminance(ground)), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 3  # WCAG 1.4.11, graphics


def test_families_differ_in_shape_as_well_as_in_colour():
    colours, shapes = zip(*map(charts.style, words.FAMILIES), strict=True)
    assert len(set(colours)) == len(set(shapes)) == len(words.FAMILIES)


def test_every_registered_family_has_its_own_style():
    assert {found.family for found in registry().values()} <= set(words.FAMILIES)


def test_an_unknown_family_never_looks_like_the_baseline():
    assert all(charts.style(name) != charts.style("baseline") for name in ("future", "x", "sparsity", "other"))


@pytest.mark.parametrize("family", words.FAMILIES)
def test_a_swatch_has_the_colour_of_the_plots(family):
    assert re.search(charts.style(family)[0], charts.swatch(family))
