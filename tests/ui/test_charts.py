"""Plots as plain Plotly figures."""

from dataclasses import replace

from dit_core.spec import RunSpec
from dit_core.ui import charts, dots
from dit_core.ui.axes import COSTS
from tests.factory import make_record


def dot(x, y):
    return dots.Dot(f"{x}", make_record(), "bundled", "pruning", "Title", "short", x, y, (x, x), (y, y), True)


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
    for drawn, bars in ((crowd, [True, False]), (crowd[1:], [True])):
        traces = [trace for trace in charts.pareto(drawn, x, y)["data"] if "customdata" in trace]
        assert ["error_x" in trace for trace in traces] == bars


def test_of_a_crowd_the_nearest_to_the_front_and_the_chosen_one_are_drawn():
    x, y = COSTS["latency"], COSTS["memory"]
    line = [dot(i, 100 - i) for i in range(10)]
    behind = [replace(dot(i + 100, 200 - i), leading=False) for i in range(10)]
    far = [replace(dot(i + 1000, 2000 - i), leading=False) for i in range(10)]
    kept = dots.nearest([*far, *behind, *line], x, y, {far[3].id}, most=15)
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
