"""Run live, the job: queue, progress, result, failure."""

import time

import pytest

from dit_core.jobs.worker import WorkerState
from dit_core.recipes.recipe import canonical, parse_argument
from dit_core.records.store import Store
from dit_core.ui import forecast, format
from tests.factory import make_sheets
from tests.pages.conftest import alts, baseline, plain, put, put_here, quantized, run_button, texts


def test_a_second_click_while_it_runs_queues_nothing(open_page, queue):
    at = open_page("run_live")
    run_button(at).click().run()
    run_button(at).click().run()
    assert len(queue.list()) == 1


def test_a_reload_and_a_second_browser_see_the_same_job_and_inputs(open_page, queue):
    first = open_page("run_live", quantization_bits="2")
    run_button(first).click().run()
    other = open_page("run_live", quantization_bits="2", job=first.query_params["job"])
    assert other.slider(key="quantization_bits").value == 2
    assert "bits 2" in texts(other)
    assert "queued" in texts(other)


def test_a_queued_job_tells_its_place(open_page, queue, monkeypatch):
    queue.submit(quantized(8))
    second = queue.submit(quantized(4))
    monkeypatch.setattr("dit_core.ui.server.worker_state", lambda queue: WorkerState(True, job=1))
    at = open_page("run_live", job=str(second))
    assert at.progress[0].text == "Waiting: 1 job ahead, job 1 is running"


def test_a_running_job_tells_stage_step_and_time(open_page, queue):
    job = queue.submit(quantized(4))
    queue.claim()
    queue.progress(job, "candidate", 5, 20)
    at = open_page("run_live", job=str(job))
    assert at.progress[0].text.startswith("Generating the candidate's images · 5 of 20 · ")
    assert "elapsed" in at.progress[0].text
    assert 0 < at.progress[0].value < 100


def test_time_left_comes_from_the_forecast_of_the_whole_run(open_page, queue):
    put_here(baseline())
    job = queue.submit(quantized(4))
    queue.claim()
    expected = forecast.run_forecast(quantized(4), [])
    assert expected
    text = open_page("run_live", job=str(job)).progress[0].text
    left = format.duration(expected.seconds), format.duration(expected.seconds - 1)
    assert any(f"about {duration} left" in text for duration in left)


def test_both_previews_are_shown_while_they_form(open_page, queue):
    job = queue.submit(quantized(4))
    queue.claim()
    assert alts(open_page("run_live", job=str(job))) == [
        "Baseline, not started",
        "Quantization, not started",
    ]
    (queue.folder(job) / "baseline.png").write_bytes(make_sheets()["baseline"])
    assert alts(open_page("run_live", job=str(job)))[0] == "Baseline, forming"


def test_a_torn_preview_does_not_break_the_page(open_page, queue):
    job = queue.submit(quantized(4))
    queue.claim()
    (queue.folder(job) / "baseline.png").write_bytes(make_sheets()["baseline"][:40])
    assert alts(open_page("run_live", job=str(job)))[0] == "Baseline, not started"


def test_cancel_ends_a_waiting_job(open_page, queue):
    job = queue.submit(quantized(4))
    at = open_page("run_live", job=str(job))
    at.button(key="cancel").click().run()
    assert queue.get(job).state == "cancelled"
    assert "Cancelled before it started." in texts(at)


@pytest.mark.parametrize("state", ["failed", "out-of-memory", "timed-out"])
def test_a_job_that_ended_badly_tells_why_and_what_to_change(open_page, queue, state):
    job = queue.submit(quantized(4))
    queue.claim()
    queue.finish(job, state, reason="The reason", hint="The hint.")
    at = open_page("run_live", job=str(job))
    assert plain(at.error[0]) == "The reason. The hint."
    assert state in texts(at)
    at.button(key="rerun").click().run()
    assert [job.state for job in queue.list()] == ["queued", state]


def test_a_finished_job_shows_its_record_beside_the_baseline(open_page, queue):
    run_id = put(quantized(4), local=True)
    job = queue.submit(quantized(4))
    queue.claim()
    queue.finish(job, "done", run_id=run_id)
    at = open_page("run_live", job=str(job))
    values = {metric.label: (metric.value, metric.delta) for metric in at.metric}
    assert values["Speed-up"] == ("×1.28", "1.24 to 1.32")
    assert values["Weights"] == ("4.00 MB", "-88 %")
    assert values["Compute"][1] == "unchanged"
    assert "measured here" in texts(at)
    assert "Test CPU, 2 threads, float32, torch 2.14.1" in texts(at)
    assert [alt.split(",")[0] for alt in alts(at)] == ["Baseline", "Quantization"]
    argument = at.code[0].value.partition("--technique ")[2].split()[0]
    assert (parse_argument(argument),) == quantized(4).techniques


def test_a_known_run_is_there_at_once_and_can_be_measured_again(open_page, queue):
    put_here(quantized(4))
    at = open_page("run_live", quantization_bits="4")
    assert "measured here" in texts(at)
    assert "Already measured: the result is below." in at.caption[0].value
    run_button(at).click().run()
    assert queue.list() == []
    assert "Already measured: the result is below." in at.info[0].value
    at.button(key="again").click().run()
    (job,) = queue.list()
    assert (job.spec, job.again) == (quantized(4), True)


def test_unknown_figures_say_why_instead_of_a_number(open_page):
    put(quantized(4, samples=0))
    at = open_page("run_live", quantization_bits="4", judged="0")
    distance = next(metric for metric in at.metric if metric.label == "Distance (not FID)")
    assert distance.value == "–"
    assert distance.help == "no samples were judged: set samples to 1000 or more"


def test_the_latency_says_of_how_many_calls_it_is_the_median_and_what_disturbed_it(open_page):
    put(quantized(4), latency={"flag": "something else used the processor"})
    at = open_page("run_live", quantization_bits="4")
    told = next(metric.help for metric in at.metric if metric.label == "Latency")
    assert told.startswith("Median time of one batch. The middle half of the raw times: ")
    assert "Measured over 5 calls with batch size 8, after a warm-up." in told
    assert told.endswith("Something else used the processor.")


def test_the_latency_tells_what_loading_and_the_first_call_cost_beside_it(open_page):
    put(quantized(4), latency={"load_s": 11.4, "first_call_s": 2.5})
    at = open_page("run_live", quantization_bits="4")
    told = next(metric.help for metric in at.metric if metric.label == "Latency")
    assert f"Loading took {format.seconds(11.4)}. The first call took {format.seconds(2.5)}" in told


def test_timing_in_several_processes_is_told_and_so_is_one_that_failed(open_page):
    reason = "timed in 2 of 3 processes, since one failed: no memory is left"
    latency = {"processes": 2, "process_calls": [3, 2], "reasons": {"processes": reason}}
    put(quantized(4), latency=latency, speedup={"process_ratios": [1.2, 1.3]})
    at = open_page("run_live", quantization_bits="4")
    told = {metric.label: metric.help for metric in at.metric}
    assert "Measured over 5 calls in 2 processes with batch size 8" in told["Latency"]
    assert told["Latency"].endswith("Timed in 2 of 3 processes, since one failed: no memory is left.")
    assert "in 2 processes of one job" in told["Speed-up"]


def test_a_mixture_tells_what_its_experts_could_must_and_did_compute(open_page):
    work = dict(zip(("total", "activated", "executed"), (2_000_000, 800_000, 840_000), strict=True))
    experts = {f"{name}_macs_per_token": macs for name, macs in work.items()}
    put(quantized(4), flops={"routing": {"balance": [[0.5, 0.9]]}, "experts": experts})
    at = open_page("run_live", quantization_bits="4")
    told = next(caption.value for caption in at.caption if caption.value.startswith("Experts:"))
    assert "need 2.00 million" in told
    assert "need 0.80 million; the machine executed 1.05 times as many." in told


def test_the_change_in_quality_is_coloured_only_beyond_its_interval(open_page):
    judged = {"distance": 1500.0, "low": 1450.0, "high": 1550.0}
    put(baseline(), quality=judged)
    put(quantized(8), quality={**judged, "distance": 1520.0, "low": 1470.0, "high": 1570.0})
    put(quantized(2), quality={**judged, "distance": 2500.0, "low": 2400.0, "high": 2600.0})
    colours = []
    for bits in ("8", "2"):
        at = open_page("run_live", quantization_bits=bits)
        metric = next(metric for metric in at.metric if metric.label.startswith("Distance"))
        colours.append(metric.color)
    assert colours[0] != colours[1]


def test_a_speed_up_whose_interval_contains_one_is_not_coloured(open_page):
    put(quantized(8), speedup={"ratio": 1.01, "low": 0.97, "high": 1.05})
    put(quantized(2), speedup={"ratio": 1.31, "low": 1.27, "high": 1.35})
    colours = {
        bits: next(m for m in open_page("run_live", quantization_bits=bits).metric if m.label == "Speed-up").color
        for bits in ("8", "2")
    }
    assert colours["8"] != colours["2"]


@pytest.mark.parametrize("named", ["99", "-1", "x", "9" * 30, ""])
def test_a_job_that_is_not_there_leaves_the_form_usable(open_page, named):
    at = open_page("run_live", job=named)
    assert not at.error
    assert not run_button(at).disabled


def test_a_queue_that_cannot_be_used_is_one_line(open_page, folders):
    (folders / "queue").write_text("a file where the folder should be")
    at = open_page("run_live")
    run_button(at).click().run()
    assert not at.exception
    assert "because a file is in its place" in plain(at.error[0])


def test_a_record_that_vanished_is_told(open_page, queue):
    job = queue.submit(quantized(4))
    queue.claim()
    queue.finish(job, "done", run_id="0" * 12)
    assert "can no longer be read" in texts(open_page("run_live", job=str(job)))


def test_a_damaged_sheet_costs_the_picture_only(open_page):
    put(quantized(4))
    for sheet in (Store().root / "sheets").iterdir():
        sheet.write_bytes(b"not a picture")
    at = open_page("run_live", quantization_bits="4")
    assert "The sample sheet is missing or damaged." in texts(at)
    assert at.metric


def test_a_dead_worker_is_replaced_while_somebody_watches(open_page, queue, monkeypatch):
    started = []
    monkeypatch.setattr("dit_core.ui.server.ensure_worker", started.append)
    job = queue.submit(quantized(4))
    queue.claim()
    open_page("run_live", job=str(job))
    assert started


def test_a_training_tells_its_loss_and_shows_what_it_can_do_so_far(open_page, queue):
    spec = baseline(techniques=canonical([{"name": "depth_pruning", "keep": 4, "recover": "500"}]))
    job = queue.submit(spec)
    queue.claim()
    queue.progress(job, "train (loss 0.1661)", 120, 500)
    (queue.folder(job) / "candidate.png").write_bytes(make_sheets()["candidate"])
    at = open_page("run_live", job=str(job))
    assert at.progress[0].text.startswith("Recovery training · loss 0.1661 · 120 of 500 · ")
    assert alts(at)[1] == "Depth pruning, forming"


def test_the_time_left_of_a_training_comes_from_its_pace(open_page, queue, monkeypatch):
    job = queue.submit(quantized(4))
    queue.claim()
    queue.progress(job, "train (loss 0.2)", 100, 500)
    at = open_page("run_live", job=str(job))
    queue.progress(job, "train (loss 0.1)", 200, 500)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 60)
    at.run()
    assert "about 3 min left in this stage" in at.progress[0].text


def test_a_stage_without_steps_tells_no_time_left(open_page, queue):
    job = queue.submit(quantized(4))
    queue.claim()
    queue.progress(job, "load", 0, 1)
    at = open_page("run_live", job=str(job))
    queue.progress(job, "load", 1, 1)
    at.run()
    assert "left" not in at.progress[0].text


def test_a_job_that_left_nothing_says_on_the_right_where_to_read_why(open_page, queue):
    job = queue.submit(quantized(4))
    queue.cancel(job)
    assert "This job has no result." in texts(open_page("run_live", job=str(job)))


def test_what_a_run_will_take_is_not_told_once_it_runs(open_page, queue):
    put_here(baseline())
    at = open_page("run_live", quantization_bits="4")
    assert "The run takes about" in texts(at)
    run_button(at).click().run()
    assert at.progress
    assert "The run takes about" not in texts(at)


def test_a_record_of_other_weights_is_not_taken_for_known(open_page, queue):
    put(quantized(4), environment={"weights": "0" * 12})
    at = open_page("run_live", quantization_bits="4")
    assert not at.metric
    run_button(at).click().run()
    assert len(queue.list()) == 1


def test_a_first_estimate_of_the_speed_up_is_shown_before_it_is_measured(open_page, queue):
    job = queue.submit(quantized(4))
    queue.claim()
    queue.progress(job, "speed (first estimate: ×1.42)", 5, 20)
    text = open_page("run_live", job=str(job)).progress[0].text
    assert text.startswith("Timing baseline and candidate alternately · first estimate: ×1.42 · 5 of 20 · ")


def test_an_export_is_named_as_one_and_draws_no_pictures(open_page, queue):
    job = queue.submit(quantized(4), kind="export")
    at = open_page("run_live", job=str(job), quantization_bits="4")
    assert "Export of Quantization" in texts(at)
    assert not alts(at)
    run_button(at).click().run()
    assert [job.kind for job in queue.list()] == ["run", "export"]


def test_an_export_that_failed_can_be_made_again(open_page, queue):
    job = queue.submit(quantized(4), kind="export")
    queue.claim()
    queue.finish(job, "failed", reason="The disk is full")
    at = open_page("run_live", job=str(job))
    assert plain(at.error[0]) == "The disk is full."
    at.button(key="make-job").click().run()
    assert [(job.kind, job.state) for job in queue.list()] == [("export", "queued"), ("export", "failed")]
