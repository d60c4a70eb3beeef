"""Plots as plain Plotly figures."""

from dataclasses import replace

from dit_core.recipes.recipe import canonical
from dit_core.records import metrics
from dit_core.records.spec import RunSpec
from dit_core.records.store import Store
from dit_core.ui.charts import parallel, pareto_plot, plot_points, time_bars
from dit_core.ui.charts.axes import Axis
from tests.factory import make_record, make_sheets

X, Y = Axis(metrics.LATENCY), Axis(metrics.PEAK_MEMORY)


def point(x, y, **fields):
    made = plot_points.PlotPoint(
        id=f"{x}",
        record=make_record(),
        origin="bundled",
        family="pruning",
        title="Title",
        short="short",
        x=x,
        y=y,
        interval_x=(x, x),
        interval_y=(y, y),
        leading=True,
    )
    return replace(made, **fields)


def test_one_distant_point_makes_the_axis_logarithmic_with_plain_numbers():
    layout = pareto_plot.pareto_figure([point(1, 1000), point(2, 1100), point(3, 5000)], X, Y)["layout"]
    assert (layout["xaxis"].get("type"), layout["yaxis"].get("type")) == (None, "log")
    assert "log)" in layout["yaxis"]["title"]["text"]
    assert {"1,000", "2,000", "5,000"} <= set(layout["yaxis"]["ticktext"])
    assert all(2.5 < annotation["y"] < 4 for annotation in layout["annotations"])


def test_with_many_points_only_those_of_the_front_have_error_bars():
    many = [point(i, i, leading=i == 0, share=float(i == 0)) for i in range(pareto_plot.MAX_ERROR_BARS + 1)]
    for drawn, bars in ((many, [True, False]), (many[1:], [True])):
        traces = [trace for trace in pareto_plot.pareto_figure(drawn, X, Y)["data"] if "customdata" in trace]
        assert ["error_x" in trace for trace in traces] == bars


def test_of_many_points_the_nearest_to_the_front_and_the_chosen_point_are_drawn():
    line = [point(i, 100 - i) for i in range(10)]
    behind = [point(i + 100, 200 - i, leading=False) for i in range(10)]
    far = [point(i + 1000, 2000 - i, leading=False) for i in range(10)]
    kept = plot_points.nearest_to_front([*far, *behind, *line], X, Y, {far[3].id}, limit=15)
    assert kept == [far[3], *behind, *line]


def test_the_hover_text_of_a_point_has_its_speed_up_with_the_interval():
    spec = RunSpec(techniques=({"name": "quantization", "bits": 4},), samples=1000)
    record = make_record(spec, speedup={"ratio": 2.0, "low": 1.9, "high": 2.1})
    (trace,) = [
        trace
        for trace in pareto_plot.pareto_figure([point(1, 2, record=record)], X, Y)["data"]
        if "customdata" in trace
    ]
    text = trace["customdata"][0][1]
    assert "Speed-up: ×2.00 (1.90 to 2.10)" in text
    assert "Judged images: 1,000" in text


def test_the_parts_of_the_time_add_up_to_the_relative_time_of_the_run():
    spec = RunSpec(techniques=({"name": "quantization", "bits": 4},))
    record = make_record(
        spec,
        latency={"time_shares": {"attention": 0.75, "routing": 0.25}},
        speedup={"ratio": 2.0, "low": 1.9, "high": 2.1, "baseline_time_shares": {"attention": 1.0}},
    )
    drawn = time_bars.time_figure(record)
    assert drawn is not None
    bars = {trace["name"]: dict(zip(trace["y"], trace["x"], strict=True)) for trace in drawn[0]["data"]}
    assert bars == {"attention": {"Baseline": 100, "This run": 37.5}, "routing": {"Baseline": 0, "This run": 12.5}}
    assert time_bars.time_figure(make_record(spec)) is None


def test_points_are_solid_faint_or_dim_by_their_share_of_draws_on_the_front():
    points = [point(i, 9 - i, share=share, leading=share > 0) for i, share in enumerate((0.97, 0.3, 0.01))]
    figure = pareto_plot.pareto_figure(points, X, Y)
    drawn = {trace["x"][0]: trace["marker"]["opacity"] for trace in figure["data"] if "customdata" in trace}
    assert drawn[0] == 1 > drawn[1] > drawn[2]
    shown = pareto_plot.pareto_figure(points, X, Y, hide_dominated=True)["data"]
    assert {x for trace in shown if "customdata" in trace for x in trace["x"]} == {0, 1}
    told = [trace["customdata"][0][1] for trace in figure["data"] if "customdata" in trace]
    assert any("On the front in 30 % of draws" in text for text in told)


def test_a_plot_is_framed_on_the_front_and_counts_the_points_outside():
    front = [point(i, 10 - i, share=1.0) for i in range(1, 4)]
    far = point(90, 80, share=0.0, leading=False)
    record = make_record(RunSpec(techniques=({"name": "quantization", "bits": 4},), samples=1000))
    points = [replace(each, record=record) for each in (*front, far)]
    framed = pareto_plot.pareto_figure(points, X, Y)["layout"]
    assert framed["meta"]["outside"] == 1
    assert framed["xaxis"]["range"][1] < 10
    assert framed["dragmode"] == "zoom"
    for options in ({"whole": True}, {"chosen": far.id}, {"pinned": [far.id]}):
        layout = pareto_plot.pareto_figure(points, X, Y, **options)["layout"]
        assert layout["meta"]["outside"] == 0


def test_a_run_that_was_not_retrained_is_an_open_symbol_and_says_so():
    figure = pareto_plot.pareto_figure([point(1, 2, not_retrained=True), point(2, 1)], X, Y)
    (trace,) = [trace for trace in figure["data"] if "customdata" in trace]
    assert [symbol.endswith("-open") for symbol in trace["marker"]["symbol"]] == [True, False]
    assert ["Not retrained" in text for _, text in trace["customdata"]] == [True, False]
    assert "Not retrained" in {trace.get("name") for trace in figure["data"]}


def test_on_parallel_axes_every_axis_points_up_to_the_better_value(tmp_path):
    store = Store(tmp_path)
    for bits, latency, throughput in ((8, 0.2, 40.0), (4, 0.4, 20.0)):
        spec = RunSpec(techniques=canonical([{"name": "quantization", "bits": bits}]), samples=1000)
        times = {"latency_s": latency, "throughput_images_per_s": throughput, "raw_s": [latency] * 5}
        record = make_record(spec, latency=times)
        store.put(record, make_sheets(record))
    axes = [Axis(metrics.LATENCY), Axis(metrics.THROUGHPUT)]
    lines = parallel.lines_of(store.load().records, axes)
    assert {line.values: line.leading for line in lines} == {(200.0, 40.0): True, (400.0, 20.0): False}
    figure = parallel.parallel_figure(lines, axes, lines[0].id, 400)
    heights = {trace["customdata"][0][0]: trace["y"] for trace in figure["data"] if "customdata" in trace}
    best = next(line.id for line in lines if line.leading)
    assert heights[best] == [1.0, 1.0, None]
    assert all(ys == [0.0, 0.0, None] for identifier, ys in heights.items() if identifier != best)
    assert parallel.description(lines, axes).startswith("Parallel axes: latency, throughput. 2 runs;")
