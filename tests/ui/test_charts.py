"""Colour and shape of a family."""

import re
from dataclasses import replace

import pytest

from dit_core.spec import RunSpec
from dit_core.techniques import registry
from dit_core.ui import charts, words
from dit_core.ui.axes import COSTS
from tests.factory import make_record

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


def dot(x, y):
    return charts.Dot(f"{x}", make_record(), "bundled", "pruning", "Title", "short", x, y, (x, x), (y, y), True)


def test_one_far_point_makes_the_axis_logarithmic_with_plain_numbers():
    x, y = COSTS["latency"], COSTS["memory"]
    layout = charts.pareto([dot(1, 1000), dot(2, 1100), dot(3, 5000)], x, y)["layout"]
    assert (layout["xaxis"].get("type"), layout["yaxis"].get("type")) == (None, "log")
    assert "log)" in layout["yaxis"]["title"]["text"]
    assert {"1,000", "2,000", "5,000"} <= set(layout["yaxis"]["ticktext"])
    assert all(2.5 < annotation["y"] < 4 for annotation in layout["annotations"])


def test_only_points_of_the_front_have_error_bars_in_a_crowd():
    x, y = COSTS["latency"], COSTS["memory"]
    crowd = [replace(dot(i, i), leading=i == 0) for i in range(charts.BARS + 1)]
    for dots, bars in ((crowd, [True, False]), (crowd[1:], [True])):
        traces = [trace for trace in charts.pareto(dots, x, y)["data"] if "customdata" in trace]
        assert ["error_x" in trace for trace in traces] == bars


def test_of_a_crowd_the_nearest_to_the_front_and_the_chosen_one_are_drawn():
    x, y = COSTS["latency"], COSTS["memory"]
    line = [dot(i, 100 - i) for i in range(10)]
    behind = [replace(dot(i + 100, 200 - i), leading=False) for i in range(10)]
    far = [replace(dot(i + 1000, 2000 - i), leading=False) for i in range(10)]
    kept = charts.nearest([*far, *behind, *line], x, y, {far[3].id}, most=15)
    assert kept == [far[3], *behind, *line]


def test_the_parts_of_the_time_add_up_to_the_relative_time_of_the_run():
    spec = RunSpec(techniques=({"name": "quantization", "bits": 4},))
    record = make_record(
        spec,
        latency={"time_shares": {"attention": 0.75, "routing": 0.25}},
        speedup={"ratio": 2.0, "low": 1.9, "high": 2.1, "baseline_time_shares": {"attention": 1.0}},
    )
    drawn = charts.time_shares(record)
    assert drawn is not None
    bars = {trace["name"]: dict(zip(trace["y"], trace["x"], strict=True)) for trace in drawn[0]["data"]}
    assert bars == {"attention": {"Baseline": 100, "This run": 37.5}, "routing": {"Baseline": 0, "This run": 12.5}}
    assert charts.time_shares(make_record(spec)) is None
