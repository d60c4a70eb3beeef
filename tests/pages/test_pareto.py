"""The Pareto page: fronts, filters, the choice of a point, missing runs."""

import io
import json
import re

import pandas as pd
import pytest

from dit_core.jobs.queue import Queue
from dit_core.recipes.recipe import canonical
from dit_core.records import metrics
from dit_core.records.spec import RunSpec
from dit_core.records.store import Store
from dit_core.ui import format, notes
from dit_core.ui.charts import pareto_plot
from dit_core.ui.charts.axes import Axis
from dit_core.ui.comparisons import point_id
from dit_core.ui.components import elements
from dit_core.ui.pareto import published, runs_table
from tests.pages.conftest import alts, baseline, put, quantized, texts


@pytest.fixture
def runs():
    """Three runs on the front of distance against time, and one that they beat."""
    put(baseline(), latency={"latency_s": 0.40}, quality={"distance": 1000.0})
    put(quantized(8), **timed(0.30), quality={"distance": 1100.0})
    put(quantized(4), **timed(0.20), quality={"distance": 1500.0})
    put(quantized(2), **timed(0.35), quality={"distance": 3000.0})


def timed(latency_s: float) -> dict[str, dict[str, float]]:
    """Return latency and speed-up of a run whose baseline takes 0.4 s."""
    ratio = 0.4 / latency_s
    return {"latency": {"latency_s": latency_s}, "speedup": {"ratio": ratio, "low": 0.9 * ratio, "high": 1.25 * ratio}}


def charts(at) -> list[dict]:
    return [json.loads(chart.proto.spec) for chart in at.get("plotly_chart")]


def trace(figure, name):
    return next(t for t in figure["data"] if t.get("name") == name)


def downloads(at) -> list[str]:
    return [button.label for button in at.get("download_button")]


def points(figure) -> int:
    return sum(len(t["x"]) for t in figure["data"] if "customdata" in t)


def test_without_records_the_page_says_what_will_be_shown(open_page):
    assert "No run has been measured yet" in texts(open_page("pareto"))


def test_quality_is_plotted_against_time_and_against_memory(open_page, runs):
    time, memory = charts(open_page("pareto"))
    assert time["layout"]["xaxis"]["title"]["text"] == "Relative time, % of baseline (lower is better)"
    assert memory["layout"]["xaxis"]["title"]["text"] == "Peak memory, MB (lower is better)"
    assert {figure["layout"]["yaxis"]["title"]["text"] for figure in (time, memory)} == {
        "Distance to real images (not FID, lower is better)"
    }


def test_the_front_is_a_stepped_line_through_the_points_that_no_other_beats(open_page, runs):
    front = trace(charts(open_page("pareto"))[0], "Pareto front")
    assert front["line"]["shape"] == "hv"
    assert front["x"] == pytest.approx([50, 75, 100])
    assert front["y"] == [1500, 1100, 1000]


def test_each_plot_has_its_hypervolume_and_the_reference_point(open_page, runs):
    notes = [line.value for line in open_page("pareto").caption if line.value.startswith("Hypervolume")]
    assert len(notes) == 2
    assert "reference point (relative time 200 % of baseline and " in notes[0]
    assert "baseline alone = 1" in notes[0]


def test_dominated_points_are_dimmed_and_can_be_hidden(open_page, runs):
    shown, hidden = charts(open_page("pareto"))[0], charts(open_page("pareto", hide="true"))[0]
    assert (points(shown), points(hidden)) == (4, 3)
    assert sorted({t["marker"]["opacity"] for t in shown["data"] if "customdata" in t}) == [0.4, 1]


def test_error_bars_come_from_the_raw_times_of_the_record(open_page):
    raw = [0.09, 0.10, 0.10, 0.11, 0.14]
    put(baseline(), latency={"latency_s": 0.10, "raw_s": raw})
    bars = next(t for t in charts(open_page("pareto", time="Latency"))[0]["data"] if "customdata" in t)["error_x"]
    assert bars["visible"]
    assert (bars["arrayminus"], bars["array"]) == (pytest.approx([5]), pytest.approx([25]))


def test_error_bars_of_the_relative_time_are_the_interval_of_the_paired_times(open_page, runs):
    at = open_page("pareto", families=["quantization"])
    leading = [t for t in charts(at)[0]["data"] if "customdata" in t and t["marker"]["opacity"] == 1]
    (bars,) = [t["error_x"] for t in leading]
    place = leading[0]["y"].index(1100)
    assert bars["visible"]
    assert bars["arrayminus"][place] == pytest.approx(75 - 75 / 1.25)
    assert bars["array"][place] == pytest.approx(75 / 0.9 - 75)
    assert "Error bars: the 95 % interval of the times measured in turn, " in texts(at)


def test_milliseconds_can_be_chosen_with_a_warning(open_page, runs):
    at = open_page("pareto", time="Latency")
    assert charts(at)[0]["layout"]["xaxis"]["title"]["text"] == "Latency, ms per batch (lower is better)"
    assert metrics.LATENCY.caution in texts(at)
    assert metrics.LATENCY.caution not in texts(open_page("pareto"))


def test_a_busy_machine_does_not_move_points_on_the_front(open_page, runs):
    front = trace(charts(open_page("pareto"))[0], "Pareto front")
    later = {**timed(0.20), "latency": {"latency_s": 0.90}, "created_at": "2026-02-01T12:00:00+00:00"}
    put(quantized(4), again=True, quality={"distance": 1500.0}, **later)
    assert trace(charts(open_page("pareto"))[0], "Pareto front") == front


@pytest.mark.parametrize(
    ("figure", "title"),
    [("precision", "Precision"), ("class_accuracy", "Class accuracy"), ("distance_infinity", "FD-infinity")],
)
def test_every_judged_quality_metric_is_an_axis(open_page, runs, figure, title):
    name = f"{title} efficientnet-lite0 @64px vs emoji-train"
    assert name not in open_page("pareto").selectbox(key="quality").options
    put(quantized(5), quality={figure: 0.5})
    at = open_page("pareto", quality=name)
    assert points(charts(at)[0]) == 1
    better = "lower" if figure == "distance_infinity" else "higher"
    assert f"({better} is better" in charts(at)[0]["layout"]["yaxis"]["title"]["text"]


def test_throughput_is_maximised(open_page, runs):
    figure = charts(open_page("pareto", time="Throughput"))[0]
    assert figure["layout"]["xaxis"]["title"]["text"] == "Throughput, images/s (higher is better)"


def test_a_point_in_the_link_shows_its_samples_next_to_the_baselines(open_page, runs):
    at = open_page("pareto", run=quantized(4).run_id)
    assert [alt.split(",")[0] for alt in alts(at)] == ["Baseline", "Quantization"]
    rings = [t for t in charts(at)[0]["data"] if t.get("marker", {}).get("symbol") == "circle-open"]
    assert [ring["x"] for ring in rings] == [[50]]
    at.button(key="close").click().run()
    assert "run" not in at.query_params
    assert not at.image


def test_the_hover_names_the_whole_spec(open_page, runs):
    hovers = [data[1] for t in charts(open_page("pareto"))[0]["data"] for data in t.get("customdata", [])]
    assert any("mode weight-only, bits 4, group size 64, skip outer" in hover for hover in hovers)


def test_runs_of_other_machines_and_workloads_are_not_shown_but_counted(open_page, runs):
    put(quantized(3), environment={"fingerprint": "other", "cpu": "Other CPU"})
    put(quantized(8, seed=5))
    at = open_page("pareto")
    assert points(charts(at)[0]) == 4
    assert "Test CPU" in texts(at)
    assert "Not shown: 2 from other workloads or machines." in texts(at)


def test_a_link_to_a_run_opens_the_machine_it_was_measured_on(open_page, runs):
    put(quantized(3), environment={"fingerprint": "other", "cpu": "Other CPU"})
    at = open_page("pareto", run=quantized(3).run_id)
    assert "Other CPU" in at.selectbox(key="machine").value


def test_runs_without_the_metric_are_counted(open_page, runs):
    put(quantized(5), quality={"distance": None, "kid": None, "reason": "one colour"})
    assert "1 without FD efficientnet-lite0" in texts(open_page("pareto"))


def test_a_repetition_replaces_the_point_and_is_counted(open_page, runs):
    again = {**timed(0.25), "created_at": "2026-02-01T12:00:00+00:00"}
    put(quantized(4), again=True, **again)
    at = open_page("pareto")
    assert 62.5 in trace(charts(at)[0], "Pareto front")["x"]
    assert "1 measured again since" in texts(at)


def test_different_metrics_never_share_an_axis(open_page, runs):
    put(quantized(3), quality={"metric": "FD other", "distance": 1.0})
    at = open_page("pareto")
    assert {"FD other", "KID other"} < set(at.selectbox(key="quality").options)
    assert points(charts(at)[0]) == 4
    assert points(charts(open_page("pareto", quality="FD other"))[0]) == 1


def test_families_and_origins_filter_the_points(open_page, runs):
    put(quantized(7), local=True)
    assert points(charts(open_page("pareto", families=["baseline"]))[0]) == 1
    at = open_page("pareto", measured=["measured here"])
    assert points(charts(at)[0]) == 1
    assert "4 filtered out" in texts(at)


@pytest.mark.parametrize("query", [{"families": ""}, {"families": ["quantization"], "measured": ""}])
def test_if_no_run_is_left_the_page_says_what_to_choose(open_page, runs, query):
    put(quantized(7), local=True)
    at = open_page("pareto", **query)
    assert "No run is left. Choose a family" in at.info[0].value
    assert not at.dataframe
    assert not charts(at)


def test_a_technique_filters_the_points_and_keeps_the_baseline(open_page, runs):
    put(baseline(techniques=canonical([{"name": "depth_pruning"}])), **timed(0.25), quality={"distance": 1200.0})
    assert points(charts(open_page("pareto"))[0]) == 5
    at = open_page("pareto", techniques=["Depth pruning"])
    assert points(charts(at)[0]) == 2
    at.multiselect(key="techniques").select("quantization").run()
    assert points(charts(at)[0]) == 5


def test_the_machine_and_the_workload_are_chosen_separately(open_page, runs):
    put(quantized(3), environment={"fingerprint": "other", "cpu": "Other CPU"})
    put(quantized(8, seed=5))
    at = open_page("pareto")
    assert (len(at.selectbox(key="machine").options), len(at.selectbox(key="of").options)) == (2, 2)
    at.selectbox(key="machine").select("Other CPU, 2 threads, float32, torch 2.14.1").run()
    assert len(at.selectbox(key="of").options) == 1
    assert points(charts(at)[0]) == 1


def test_the_versions_of_the_environment_are_shown(open_page, runs):
    assert "Measured on Test CPU, 2 threads, float32, torch 2.14.1, torchao 0.18.0, diffusers 0.42.1." in texts(
        open_page("pareto")
    )


def test_the_page_says_why_no_plot_has_energy(open_page, runs):
    note = "No energy: no energy counter can be read on this machine."
    assert note in texts(open_page("pareto"))
    put(quantized(7), energy={"energy_j": 3.0})
    assert note not in texts(open_page("pareto"))


def test_a_column_without_values_is_hidden_and_the_hardware_has_a_column(open_page, runs):
    (table,) = open_page("pareto").dataframe
    assert "Energy, J" not in table.value
    assert set(table.value["Hardware"]) == {"Test CPU"}
    put(quantized(7), energy={"energy_j": 3.0})
    assert "Energy, J" in open_page("pareto").dataframe[0].value


def test_every_point_of_the_front_is_named_below_its_plot(open_page, runs):
    page = texts(open_page("pareto"))
    assert "On the front, relative time in % of baseline and share of draws" in page
    assert re.search(
        r"Quantization, bits 4 \(50\.0; 100 %\); Quantization, bits 8 \(75\.0; \d+ %\); Baseline \(100; \d+ %\)\.", page
    )


def test_labels_name_their_technique(open_page, runs):
    labels = [note["text"] for note in charts(open_page("pareto"))[0]["layout"]["annotations"]]
    assert "Quantization,<br>bits 8" in labels


def test_the_table_lists_every_run_the_fastest_first(open_page, runs):
    (table,) = open_page("pareto").dataframe
    assert list(table.value["Latency, ms"]) == [200, 300, 350, 400]
    assert list(table.value["Relative time, %"]) == pytest.approx([50, 75, 87.5, 100])
    assert table.value["Run"].iloc[-1] == "Baseline"


def test_records_that_cannot_be_trusted_are_skipped_and_named(open_page, runs):
    (Store().root / "0123456789ab.json").write_text('{"schema": 1, "run_')
    at = open_page("pareto")
    assert "1 record skipped" in [expander.label for expander in at.expander]
    assert "0123456789ab.json: not whole JSON" in texts(at)


def test_the_alternative_text_of_a_plot_describes_its_front(open_page, runs):
    alt = open_page("pareto").get("plotly_chart")[0].proto.alt
    assert "4 runs, 3 on the Pareto front" in alt


def test_an_unknown_run_in_the_link_is_ignored(open_page, runs):
    assert not open_page("pareto", run="nothing").image


def test_within_limits_on_costs_the_best_quality_is_the_answer_with_its_command(open_page, runs):
    at = open_page("pareto", within_ms="320")
    assert f"**{format.title(quantized(8))}**" in texts(at)
    assert "2 of 4 runs meet the limits; this is the best of them by distance to real images (not FID)." in texts(at)
    assert at.code[0].value == quantized(8).command()


def test_recipes_that_cannot_be_told_from_the_best_are_named_with_it(open_page, runs):
    near, far = ({"distance": value, "low": value - 40, "high": value + 40} for value in (1130.0, 1190.0))
    put(quantized(8), **timed(0.30), quality={"distance": 1100.0, "low": 1060.0, "high": 1140.0}, again=True)
    put(quantized(7), **timed(0.30), quality=near)
    put(quantized(6), **timed(0.30), quality=far)
    told = "Equally good within the intervals (1): Quantization, bits 7"
    assert told in texts(open_page("pareto", within_ms="320"))
    assert "Cannot be told" not in texts(open_page("pareto", within_ms="250"))


def test_with_a_limit_on_quality_the_fastest_run_is_the_answer(open_page, runs):
    at = open_page("pareto", within_ms="500", within_distance="1600")
    assert "bits 4" in texts(at)
    assert "3 of 4 runs meet the limits; this is the fastest of them." in texts(at)


def test_limits_that_no_run_meets_are_answered_with_the_best_values(open_page, runs):
    at = open_page("pareto", within_ms="10", within_mb="1")
    (warning,) = at.warning
    assert "the best latency is 200 ms, the best peak memory is 104 MB" in warning.value
    assert not at.code


def test_limits_are_lines_on_the_plots_of_their_axes(open_page, runs):
    time, memory = charts(open_page("pareto", within_time="80", within_distance="1600"))
    assert [(line.get("x0"), line.get("y0")) for line in time["layout"]["shapes"]] == [(80, 0), (0, 1600)]
    assert [line["y0"] for line in memory["layout"]["shapes"]] == [1600]


def test_the_answer_is_marked_on_the_plots_and_leads_to_its_samples(open_page, runs):
    at = open_page("pareto", within_ms="320", hide="true")
    marks = [trace(figure, pareto_plot.ANSWER) for figure in charts(at)]
    assert [(*mark["x"], *mark["y"]) for mark in marks] == [pytest.approx((75, 1100)), pytest.approx((116, 1100))]
    assert {mark["marker"]["symbol"] for mark in marks} == {"square-open"}
    at.button(key="answer-samples").click().run()
    assert at.query_params["run"] == quantized(8).run_id
    assert [alt.split(",")[0] for alt in alts(at)] == ["Baseline", "Quantization"]


def test_weights_can_be_limited(open_page, runs):
    at = open_page("pareto", within_weights="5")
    assert f"**{format.title(quantized(4))}**" in texts(at)
    assert "2 of 4 runs meet the limits" in texts(at)


def test_the_question_is_shown_before_a_limit_is_set(open_page, runs):
    assert "Which run is best within your limits?" in texts(open_page("pareto"))


def test_without_limits_there_is_no_answer(open_page, runs):
    assert not open_page("pareto").code


def test_the_model_of_the_answer_can_be_requested_as_a_file(open_page, runs, monkeypatch):
    started = []
    monkeypatch.setattr("dit_core.ui.components.model_download.ensure_worker", started.append)
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


def test_a_model_file_with_outdated_weights_is_not_offered(open_page, runs):
    queue = Queue()
    job = queue.get(queue.submit(quantized(8), kind="export"))
    queue.claim()
    (queue.folder(job.id) / "model-0123456789ab.zip").write_bytes(b"an old model")
    queue.finish(job.id, "done")
    at = open_page("pareto", within_time="80")
    assert downloads(at) == ["Table (CSV)"]
    assert at.button(key="make-answer")


def test_a_failed_export_shows_its_reason(open_page, runs):
    queue = Queue()
    job = queue.submit(quantized(8), kind="export")
    queue.claim()
    queue.finish(job, "failed", reason="The disk is full.")
    assert "The last attempt failed: The disk is full." in texts(open_page("pareto", within_time="80"))


def test_the_panel_explains_the_time_of_the_run_and_shows_its_quality(open_page, runs):
    shares = {"attention": 0.5, "ffn": 0.3, "dequantization": 0.2}
    put(
        quantized(3),
        latency={"time_shares": shares},
        speedup={"explanation": "stored", "baseline_time_shares": {"attention": 0.6, "ffn": 0.4}},
        quality={"precision": 0.625, "recall": 0.25, "class_accuracy": 0.5},
        flops={"routing": {"balance": [[0.5, 0.75], [None, 1.0]]}},
    )
    at = open_page("pareto", run=quantized(3).run_id)
    assert "20 % of its time is spent on restoring weights" in texts(at)
    assert "the mean load is 50 to 100 % of the busiest expert's load" in texts(at)
    values = {metric.label: metric.value for metric in at.metric}
    assert (values["Precision"], values["Recall"], values["Class accuracy"]) == ("62.5 %", "25.0 %", "50.0 %")
    (alt,) = [chart.proto.alt for chart in at.get("plotly_chart") if chart.proto.alt.startswith("Where the time goes")]
    assert "This run: attention 50 %, feed-forward 30 %, restoring weights 20 %" in alt


def dashed(figure) -> list[float]:
    return [shape["x0"] for shape in figure["layout"].get("shapes", ()) if shape["line"]["dash"] == "dash"]


def test_published_results_are_hidden_at_first(open_page, runs):
    at = open_page("pareto")
    assert not at.toggle(key="reported").value
    assert not any(map(dashed, charts(at)))
    assert "published points" not in texts(at)


REPORTED = (1.8, 4.53, 1.08, 1.71, 2.0)  # speed-ups that sources name for any device, in the order of the claims


def test_a_published_speed_up_is_a_line_only_on_axes_of_that_metric(open_page, runs):
    names = ("Relative time", "Speed-up", "Latency")
    plots = [charts(open_page("pareto", reported="true", time=name)) for name in names]
    times = [pytest.approx(100 / ratio) for ratio in REPORTED]
    assert [dashed(time) for time, _ in plots] == [times, list(REPORTED), []]
    assert not any(dashed(memory) for _, memory in plots)


def test_a_line_outside_the_plot_widens_it(open_page):
    put(baseline(), quality={"distance": 1000.0})
    put(quantized(8), speedup={"ratio": 1.1, "low": 1.09, "high": 1.11}, quality={"distance": 1100.0})
    (low, high), (wide_low, _) = (
        charts(open_page("pareto", reported=on))[0]["layout"]["xaxis"]["range"] for on in ("false", "true")
    )
    assert wide_low <= 100 / max(REPORTED) < low < high


def test_published_results_name_their_source_and_why_there_are_no_points(open_page, runs):
    page = texts(open_page("pareto", reported="true"))
    assert "Quantization makes inference up to 1.8 times as fast. ([summary: arXiv 2509.17894" in page
    assert "No paper reports FD efficientnet-lite0" in page
    assert "a different metric and cannot share this axis" in page


@pytest.mark.parametrize(("device", "lines"), [("cpu", REPORTED), ("cuda", (1.8, 0.83, 0.76, *REPORTED[1:]))])
def test_results_reported_for_another_device_are_not_shown(device, lines):
    assert [value for value, _ in published.marks(Axis(metrics.SPEEDUP), device)] == pytest.approx(lines)


def test_the_whole_table_can_be_downloaded_with_intervals(runs):
    every = Store().load().records
    axes = Axis(metrics.RELATIVE_TIME), Axis(metrics.PRIMARY_QUALITY)
    with io.BytesIO(runs_table.csv(every, [axes])) as file:
        rows = pd.read_csv(file)
    share = rows.set_index("Distance (not FID)")["On the front by relative time, % of draws"]
    assert (share[3000], share[1500]) == (0, 100)
    assert list(rows["Id"]) == [point_id(run) for run in every]
    assert {metric.column for metric in metrics.METRICS if metric.column} | {"Recipe", "Family"} <= set(rows)
    assert {"From", "To", "Distance (not FID), low", "Distance (not FID), high"} <= set(rows)
    assert sorted(rows["Distance (not FID)"]) == [1000, 1100, 1500, 3000]
    assert [RunSpec.from_dict(json.loads(spec)).run_id for spec in rows["Spec"]] == list(rows["Id"])
    assert all(command.startswith("python -m dit_core run ") for command in rows["Command"])
    assert set(rows["Seed"]) == {0}


def test_a_run_is_pinned_named_and_annotated_for_all_browsers(open_page, runs):
    run = quantized(2).run_id
    at = open_page("pareto", run=run)
    at.toggle(key=f"pin-{run}").set_value(True)
    at.text_input(key=f"name-{run}").set_value("Too few bits")
    at.text_area(key=f"text-{run}").set_value("Shown in the talk")
    at.button(key=f"save-{run}").click().run()
    other = open_page("pareto", hide="true")
    assert "Too few bits" in [note["text"].replace("<br>", " ") for note in charts(other)[0]["layout"]["annotations"]]
    table = other.dataframe[0].value
    assert table["Name"].iloc[0] == "Too few bits"  # pinned runs come first
    assert table["Note"].iloc[0] == "Shown in the talk"
    notes.write(run, notes.Note())
    assert notes.read() == {}


def test_every_badge_is_explained(open_page, runs):
    at = open_page("pareto")
    assert all(meaning in texts(at) for _, _, meaning in elements.BADGES.values())
    assert downloads(at) == ["Table (CSV)"]
