"""Limits on the page Pareto, their answer, and published results."""

import pytest

from dit_core.jobs.queue import Queue
from dit_core.records import metrics
from dit_core.ui import format
from dit_core.ui.charts import pareto_plot
from dit_core.ui.charts.axes import Axis
from dit_core.ui.pareto import published
from tests.pages.conftest import alts, baseline, put, quantized, texts
from tests.pages.test_pareto import charts, downloads, timed, trace


@pytest.fixture
def runs():
    """Three runs on the front of distance against time, and one that they beat."""
    put(baseline(), latency={"latency_s": 0.40}, quality={"distance": 1000.0})
    put(quantized(8), **timed(0.30), quality={"distance": 1100.0})
    put(quantized(4), **timed(0.20), quality={"distance": 1500.0})
    put(quantized(2), **timed(0.35), quality={"distance": 3000.0})


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
    assert "Equally good" not in texts(open_page("pareto", within_ms="250"))


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
