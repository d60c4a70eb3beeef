"""The Pareto page: fronts, filters, the choice of a point, what is left out."""

import io
import json

import pandas as pd
import pytest

from dit_core.jobs import Queue
from dit_core.store import Store
from dit_core.techniques import canonical
from dit_core.ui import charts, components, pareto, published, words
from dit_core.ui.axes import COSTS
from dit_core.ui.points import point_id
from tests.pages.conftest import alts, baseline, put, quantized, texts


@pytest.fixture
def runs():
    """Three on the front of distance against time, and one that they beat."""
    put(baseline(), latency={"latency_s": 0.40}, quality={"distance": 1000.0})
    put(quantized(8), **timed(0.30), quality={"distance": 1100.0})
    put(quantized(4), **timed(0.20), quality={"distance": 1500.0})
    put(quantized(2), **timed(0.35), quality={"distance": 3000.0})


def timed(latency_s: float) -> dict[str, dict[str, float]]:
    """Beside a baseline of 0.4 s."""
    ratio = 0.4 / latency_s
    return {"latency": {"latency_s": latency_s}, "speedup": {"ratio": ratio, "low": 0.9 * ratio, "high": 1.25 * ratio}}


def figures(at) -> list[dict]:
    return [json.loads(chart.proto.spec) for chart in at.get("plotly_chart")]


def trace(figure, name):
    return next(t for t in figure["data"] if t.get("name") == name)


def downloads(at) -> list[str]:
    return [button.label for button in at.get("download_button")]


def points(figure) -> int:
    return sum(len(t["x"]) for t in figure["data"] if "customdata" in t)


def test_without_records_it_says_what_will_be_here(open_page):
    assert "No run has been measured yet" in texts(open_page("pareto"))


def test_quality_is_plotted_against_time_and_against_memory(open_page, runs):
    time, memory = figures(open_page("pareto"))
    assert time["layout"]["xaxis"]["title"]["text"] == "Relative time, % of baseline (less is better)"
    assert memory["layout"]["xaxis"]["title"]["text"] == "Peak memory, MB (less is better)"
    assert {figure["layout"]["yaxis"]["title"]["text"] for figure in (time, memory)} == {
        "Distance to real images (less is better)"
    }


def test_the_front_is_a_step_line_through_what_nothing_beats(open_page, runs):
    front = trace(figures(open_page("pareto"))[0], "Pareto front")
    assert front["line"]["shape"] == "hv"
    assert front["x"] == pytest.approx([50, 75, 100])
    assert front["y"] == [1500, 1100, 1000]


def test_each_plot_tells_its_hypervolume_and_from_which_point(open_page, runs):
    told = [line.value for line in open_page("pareto").caption if line.value.startswith("Hypervolume")]
    assert len(told) == 2
    assert "reference point (relative time 200 % of baseline and " in told[0]
    assert "baseline alone covers 1" in told[0]


def test_dominated_points_are_dimmed_and_can_be_hidden(open_page, runs):
    shown, hidden = figures(open_page("pareto"))[0], figures(open_page("pareto", hide="true"))[0]
    assert (points(shown), points(hidden)) == (4, 3)
    assert sorted({t["marker"]["opacity"] for t in shown["data"] if "customdata" in t}) == [0.4, 1]


def test_error_bars_come_from_the_raw_times_of_the_record(open_page):
    raw = [0.09, 0.10, 0.10, 0.11, 0.14]
    put(baseline(), latency={"latency_s": 0.10, "raw_s": raw})
    bars = next(t for t in figures(open_page("pareto", time="Latency"))[0]["data"] if "customdata" in t)["error_x"]
    assert bars["visible"]
    assert (bars["arrayminus"], bars["array"]) == ([0], pytest.approx([10]))


def test_error_bars_of_the_relative_time_are_the_interval_of_the_times_measured_in_turn(open_page, runs):
    at = open_page("pareto", families=["quantization"])
    leading = [t for t in figures(at)[0]["data"] if "customdata" in t and t["marker"]["opacity"] == 1]
    (bars,) = [t["error_x"] for t in leading]
    place = leading[0]["y"].index(1100)
    assert bars["visible"]
    assert bars["arrayminus"][place] == pytest.approx(75 - 75 / 1.25)
    assert bars["array"][place] == pytest.approx(75 / 0.9 - 75)
    assert "Bars: the 95 % interval of the times measured in turn, " in texts(at)


def test_milliseconds_can_be_chosen_and_say_how_they_mislead(open_page, runs):
    at = open_page("pareto", time="Latency")
    assert figures(at)[0]["layout"]["xaxis"]["title"]["text"] == "Latency, ms per batch (less is better)"
    assert "Times of two runs differ with whatever else their machine did" in texts(at)
    assert "Times of two runs differ" not in texts(open_page("pareto"))


def test_a_busy_machine_moves_no_point_of_the_front(open_page, runs):
    front = trace(figures(open_page("pareto"))[0], "Pareto front")
    later = {**timed(0.20), "latency": {"latency_s": 0.90}, "created_at": "2026-02-01T12:00:00+00:00"}
    put(quantized(4), again=True, quality={"distance": 1500.0}, **later)
    assert trace(figures(open_page("pareto"))[0], "Pareto front") == front


@pytest.mark.parametrize(
    ("figure", "title"),
    [("precision", "Precision"), ("class_accuracy", "Class accuracy"), ("distance_infinity", "FD-infinity")],
)
def test_every_figure_of_the_quality_is_an_axis_where_it_was_judged(open_page, runs, figure, title):
    name = f"{title} efficientnet-lite0 @64px vs emoji-train"
    assert name not in open_page("pareto").selectbox(key="quality").options
    put(quantized(5), quality={figure: 0.5})
    at = open_page("pareto", quality=name)
    assert points(figures(at)[0]) == 1
    better = "less" if figure == "distance_infinity" else "more"
    assert f"({better} is better" in figures(at)[0]["layout"]["yaxis"]["title"]["text"]


def test_throughput_is_maximised(open_page, runs):
    figure = figures(open_page("pareto", time="Throughput"))[0]
    assert figure["layout"]["xaxis"]["title"]["text"] == "Throughput, images/s (more is better)"


def test_a_point_in_the_address_shows_its_samples_beside_the_baselines(open_page, runs):
    at = open_page("pareto", run=quantized(4).run_id)
    assert [alt.split(",")[0] for alt in alts(at)] == ["Baseline", "Quantization"]
    rings = [t for t in figures(at)[0]["data"] if t.get("marker", {}).get("symbol") == "circle-open"]
    assert [ring["x"] for ring in rings] == [[50]]
    at.button(key="close").click().run()
    assert "run" not in at.query_params
    assert not at.image


def test_the_hover_names_the_whole_spec(open_page, runs):
    hovers = [data[1] for t in figures(open_page("pareto"))[0]["data"] for data in t.get("customdata", [])]
    assert any("mode weight-only, bits 4, group size 64, skip outer" in hover for hover in hovers)


def test_other_machines_and_workloads_are_left_out_and_counted(open_page, runs):
    put(quantized(3), environment={"fingerprint": "other", "cpu": "Other CPU"})
    put(quantized(8, seed=5))
    at = open_page("pareto")
    assert points(figures(at)[0]) == 4
    assert "Test CPU" in texts(at)
    assert "Not on these plots: 2 of other workloads or machines." in texts(at)


def test_a_link_to_a_run_opens_the_machine_it_was_measured_on(open_page, runs):
    put(quantized(3), environment={"fingerprint": "other", "cpu": "Other CPU"})
    at = open_page("pareto", run=quantized(3).run_id)
    assert "Other CPU" in at.selectbox(key="machine").value


def test_runs_without_the_figure_are_counted(open_page, runs):
    put(quantized(5), quality={"distance": None, "kid": None, "reason": "one colour"})
    assert "1 without FD efficientnet-lite0" in texts(open_page("pareto"))


def test_a_repetition_replaces_the_point_and_is_counted(open_page, runs):
    again = {**timed(0.25), "created_at": "2026-02-01T12:00:00+00:00"}
    put(quantized(4), again=True, **again)
    at = open_page("pareto")
    assert 62.5 in trace(figures(at)[0], "Pareto front")["x"]
    assert "1 measured again since" in texts(at)


def test_different_metrics_never_share_an_axis(open_page, runs):
    put(quantized(3), quality={"metric": "FD other", "distance": 1.0})
    at = open_page("pareto")
    assert {"FD other", "KID other"} < set(at.selectbox(key="quality").options)
    assert points(figures(at)[0]) == 4
    assert points(figures(open_page("pareto", quality="FD other"))[0]) == 1


def test_families_and_origins_filter_the_points(open_page, runs):
    put(quantized(7), local=True)
    assert points(figures(open_page("pareto", families=["baseline"]))[0]) == 1
    at = open_page("pareto", measured=["measured here"])
    assert points(figures(at)[0]) == 1
    assert "4 filtered out" in texts(at)


@pytest.mark.parametrize("query", [{"families": ""}, {"families": ["quantization"], "measured": ""}])
def test_where_no_run_is_left_it_says_what_to_choose(open_page, runs, query):
    put(quantized(7), local=True)
    at = open_page("pareto", **query)
    assert "No run is left: choose a family" in at.info[0].value
    assert not at.dataframe
    assert not figures(at)


def test_a_technique_filters_the_points_and_leaves_the_baseline(open_page, runs):
    put(baseline(techniques=canonical([{"name": "depth_pruning"}])), **timed(0.25), quality={"distance": 1200.0})
    assert points(figures(open_page("pareto"))[0]) == 5
    at = open_page("pareto", techniques=["Depth pruning"])
    assert points(figures(at)[0]) == 2
    at.multiselect(key="techniques").select("quantization").run()
    assert points(figures(at)[0]) == 5


def test_the_machine_and_the_workload_are_chosen_apart(open_page, runs):
    put(quantized(3), environment={"fingerprint": "other", "cpu": "Other CPU"})
    put(quantized(8, seed=5))
    at = open_page("pareto")
    assert (len(at.selectbox(key="machine").options), len(at.selectbox(key="of").options)) == (2, 2)
    at.selectbox(key="machine").select("Other CPU, 2 threads, float32, torch 2.14.1").run()
    assert len(at.selectbox(key="of").options) == 1
    assert points(figures(at)[0]) == 1


def test_the_versions_behind_the_figures_are_told(open_page, runs):
    assert "Measured on Test CPU, 2 threads, float32, torch 2.14.1, torchao 0.18.0, diffusers 0.42.1." in texts(
        open_page("pareto")
    )


def test_it_says_why_no_plot_has_energy(open_page, runs):
    told = "No energy: no energy counter can be read on this machine."
    assert told in texts(open_page("pareto"))
    put(quantized(7), energy={"energy_j": 3.0})
    assert told not in texts(open_page("pareto"))


def test_a_column_that_no_run_has_is_left_out_and_the_hardware_has_one(open_page, runs):
    (table,) = open_page("pareto").dataframe
    assert "Energy, J" not in table.value
    assert set(table.value["Hardware"]) == {"Test CPU"}
    put(quantized(7), energy={"energy_j": 3.0})
    assert "Energy, J" in open_page("pareto").dataframe[0].value


def test_every_point_of_the_front_is_named_below_its_plot(open_page, runs):
    told = "On the front, relative time in % of baseline: Quantization, bits 4 (50.0); Quantization, bits 8 (75.0); "
    assert f"{told}Baseline (100)." in texts(open_page("pareto"))


def test_labels_name_their_technique(open_page, runs):
    labels = [note["text"] for note in figures(open_page("pareto"))[0]["layout"]["annotations"]]
    assert "Quantization,<br>bits 8" in labels


def test_the_table_lists_every_run_the_quickest_first(open_page, runs):
    (table,) = open_page("pareto").dataframe
    assert list(table.value["Latency, ms"]) == [200, 300, 350, 400]
    assert list(table.value["Relative time, %"]) == pytest.approx([50, 75, 87.5, 100])
    assert table.value["Run"].iloc[-1] == "Baseline"


def test_records_that_cannot_be_trusted_are_skipped_and_named(open_page, runs):
    (Store().root / "0123456789ab.json").write_text('{"schema": 1, "run_')
    at = open_page("pareto")
    assert "1 record skipped" in [expander.label for expander in at.expander]
    assert "0123456789ab.json: not whole JSON" in texts(at)


def test_every_plot_has_a_name_that_tells_its_front(open_page, runs):
    alt = open_page("pareto").get("plotly_chart")[0].proto.alt
    assert "4 runs, 3 on the Pareto front" in alt


def test_an_unknown_run_in_the_address_is_ignored(open_page, runs):
    assert not open_page("pareto", run="nothing").image


def test_under_a_budget_the_best_quality_is_the_answer_with_its_command(open_page, runs):
    at = open_page("pareto", within_ms="320")
    assert f"**{words.title(quantized(8))}**" in texts(at)
    assert "2 of 4 runs keep the limits; this is the best by distance to real images." in texts(at)
    assert at.code[0].value == quantized(8).command()


def test_where_a_quality_is_enough_the_quickest_is_the_answer(open_page, runs):
    at = open_page("pareto", within_ms="500", within_distance="1600")
    assert "bits 4" in texts(at)
    assert "3 of 4 runs keep the limits; this is the quickest." in texts(at)


def test_limits_that_nothing_keeps_are_answered_with_the_nearest(open_page, runs):
    at = open_page("pareto", within_ms="10", within_mb="1")
    (warning,) = at.warning
    assert "the best latency is 200 ms per batch, the best peak memory is 104 MB" in warning.value
    assert not at.code


def test_limits_are_lines_on_the_plots_of_their_axes(open_page, runs):
    time, memory = figures(open_page("pareto", within_time="80", within_distance="1600"))
    assert [(line.get("x0"), line.get("y0")) for line in time["layout"]["shapes"]] == [(80, 0), (0, 1600)]
    assert [line["y0"] for line in memory["layout"]["shapes"]] == [1600]


def test_the_answer_is_marked_on_the_plots_and_leads_to_its_samples(open_page, runs):
    at = open_page("pareto", within_ms="320", hide="true")
    marks = [trace(figure, charts.ANSWER) for figure in figures(at)]
    assert [(*mark["x"], *mark["y"]) for mark in marks] == [pytest.approx((75, 1100)), pytest.approx((116, 1100))]
    assert {mark["marker"]["symbol"] for mark in marks} == {"square-open"}
    at.button(key="answer-samples").click().run()
    assert at.query_params["run"] == quantized(8).run_id
    assert [alt.split(",")[0] for alt in alts(at)] == ["Baseline", "Quantization"]


def test_weights_can_be_limited(open_page, runs):
    at = open_page("pareto", within_weights="5")
    assert f"**{words.title(quantized(4))}**" in texts(at)
    assert "2 of 4 runs keep the limits" in texts(at)


def test_the_question_is_asked_before_there_is_an_answer(open_page, runs):
    assert "Which run is best within your limits?" in texts(open_page("pareto"))


def test_without_limits_there_is_no_answer(open_page, runs):
    assert not open_page("pareto").code


def test_the_answer_offers_its_model_as_a_file_that_the_worker_makes(open_page, runs, monkeypatch):
    started = []
    monkeypatch.setattr("dit_core.ui.model_file.ensure_worker", started.append)
    at = open_page("pareto", within_time="80")
    at.button(key="make-answer").click().run()
    queue = Queue()
    (job,) = queue.list()
    assert (job.kind, job.spec, len(started)) == ("export", quantized(8), 1)
    assert at.button(key="making-answer").disabled
    queue.claim()
    queue.archive(job).write_bytes(b"a model")
    queue.finish(job.id, "done")
    at = open_page("pareto", within_time="80")
    assert downloads(at) == ["Model (7.00 B zip)", "Table (CSV)"]


def test_a_model_file_of_other_weights_is_not_offered(open_page, runs):
    queue = Queue()
    job = queue.get(queue.submit(quantized(8), kind="export"))
    queue.claim()
    (queue.folder(job.id) / "model-0123456789ab.zip").write_bytes(b"an old model")
    queue.finish(job.id, "done")
    at = open_page("pareto", within_time="80")
    assert downloads(at) == ["Table (CSV)"]
    assert at.button(key="make-answer")


def test_a_model_file_that_could_not_be_made_says_why(open_page, runs):
    queue = Queue()
    job = queue.submit(quantized(8), kind="export")
    queue.claim()
    queue.finish(job, "failed", reason="The disk is full.")
    assert "The last try: The disk is full." in texts(open_page("pareto", within_time="80"))


def test_the_panel_tells_why_the_run_takes_its_time_and_how_it_was_judged(open_page, runs):
    shares = {"attention": 0.5, "ffn": 0.3, "dequantization": 0.2}
    put(
        quantized(3),
        latency={"time_shares": shares},
        speedup={"explanation": "It saves bytes, not time.", "baseline_time_shares": {"attention": 0.6, "ffn": 0.4}},
        quality={"precision": 0.625, "recall": 0.25, "class_accuracy": 0.5},
        flops={"routing": {"balance": [[0.5, 0.75], [None, 1.0]]}},
    )
    at = open_page("pareto", run=quantized(3).run_id)
    assert "It saves bytes, not time." in texts(at)
    assert "over 2 layers the mean load is 50 to 100 % of the busiest expert's" in texts(at)
    values = {metric.label: metric.value for metric in at.metric}
    assert (values["Precision"], values["Recall"], values["Class accuracy"]) == ("62.5 %", "25.0 %", "50.0 %")
    (told,) = [chart.proto.alt for chart in at.get("plotly_chart") if chart.proto.alt.startswith("Where the time goes")]
    assert "This run: attention 50 %, feed-forward 30 %, restoring weights 20 %" in told


def dashed(figure) -> list[float]:
    return [shape["x0"] for shape in figure["layout"].get("shapes", ()) if shape["line"]["dash"] == "dash"]


def test_published_figures_are_a_layer_that_is_off_at_first(open_page, runs):
    at = open_page("pareto")
    assert not at.toggle(key="reported").value
    assert not any(map(dashed, figures(at)))
    assert "Nothing published" not in texts(at)


def test_a_published_speed_up_is_a_line_on_axes_of_that_figure_alone(open_page, runs):
    names = ("Relative time", "Speed-up", "Latency")
    plots = [figures(open_page("pareto", reported="true", time=name)) for name in names]
    assert [dashed(time) for time, _ in plots] == [[pytest.approx(100 / 1.8)], [1.8], []]
    assert not any(dashed(memory) for _, memory in plots)


def test_a_line_outside_the_plot_widens_it(open_page):
    put(baseline(), quality={"distance": 1000.0})
    put(quantized(8), speedup={"ratio": 1.1, "low": 1.09, "high": 1.11}, quality={"distance": 1100.0})
    (low, high), (wide_low, _) = (
        figures(open_page("pareto", reported=on))[0]["layout"]["xaxis"]["range"] for on in ("false", "true")
    )
    assert wide_low <= 100 / 1.8 < low < high


def test_the_layer_names_its_source_and_why_nothing_published_is_a_point(open_page, runs):
    told = texts(open_page("pareto", reported="true"))
    assert "Quantization makes inference up to 1.8 times as fast. ([summary: arXiv 2509.17894" in told
    assert "Nothing published is a point here: no source of the claims gives FD efficientnet-lite0" in told
    assert "another metric, so it shares no axis" in told


@pytest.mark.parametrize(("device", "lines"), [("cpu", [1.8]), ("cuda", [1.8, 0.83, 0.76])])
def test_what_was_reported_of_another_device_is_left_out(device, lines):
    assert [value for value, _ in published.marks(COSTS["speedup"], device)] == pytest.approx(lines)


def test_the_table_can_be_taken_away_whole(runs):
    every = Store().load().records
    with io.BytesIO(pareto._csv(every)) as file:
        rows = pd.read_csv(file)
    assert list(rows["Id"]) == [point_id(one) for one in every]
    assert set(pareto.COLUMNS) | {"Recipe", "Family"} <= set(rows)
    assert sorted(rows["Distance"]) == [1000, 1100, 1500, 3000]


def test_every_badge_is_explained(open_page, runs):
    at = open_page("pareto")
    assert all(meaning in texts(at) for _, _, meaning in components.BADGES.values())
    assert downloads(at) == ["Table (CSV)"]
