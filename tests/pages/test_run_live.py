"""Run live: form, queue, progress, result, failure."""

import re
import time
from dataclasses import dataclass, field

import pytest

from dit_core import techniques
from dit_core.jobs import Queue
from dit_core.models import catalog, recovered
from dit_core.spec import RunSpec
from dit_core.store import Store
from dit_core.ui import form, presets, words
from dit_core.worker import WorkerState
from tests.factory import make_sheets
from tests.pages.conftest import alts, baseline, put, quantized, texts


@dataclass(frozen=True)
class Everything:
    """Has a knob of every kind (nowhere, 2020).

    More words that the form does not need.
    """

    switch: bool = field(default=True, metadata={"help": "On or off."})
    few: int = field(default=3, metadata={"help": "A small range.", "min": 1, "max": 8})
    many: int = field(default=500, metadata={"help": "A wide range.", "min": 1, "max": 10_000})
    share: float = field(default=0.5, metadata={"help": "A part.", "min": 0.0, "max": 1.0, "step": 0.1})
    word: str = field(default="plain", metadata={"help": "Any word."})
    pick: str = field(default="a", metadata={"help": "One of two.", "choices": ("a", "b")})
    recover: str = techniques.recover_knob()
    long_pick: int = field(default=2, metadata={"help": "One of eight.", "choices": (1, 2, 3, 4, 5, 6, 7, 8)})


@pytest.fixture
def everything(monkeypatch):
    """A technique that only this test knows; `pick` b cannot run on this device."""
    monkeypatch.setattr(techniques, "_REGISTRY", dict(techniques.registry()))

    def unavailable(config, device):
        return "it needs a device that this machine lacks." if config.pick == "b" else None

    techniques.technique(Everything, title="Everything", family="caching", unavailable=unavailable)(lambda *_: None)


def run_button(at):
    return at.button(key="run")


def test_the_form_has_a_widget_for_every_knob_with_its_words(open_page, everything):
    at = open_page("run_live", technique="test_run_live")
    prefix = "test_run_live_"
    kinds = {"switch": at.toggle, "few": at.slider, "many": at.number_input, "share": at.slider, "word": at.text_input}
    for name, kind in kinds.items():
        widget = kind(key=prefix + name)
        assert widget.value == getattr(Everything(), name)
        assert widget.help == Everything.__dataclass_fields__[name].metadata["help"]
    assert at.get_by_key(prefix + "pick").value == "a"
    assert at.selectbox(key=prefix + "long_pick").value == 2
    assert "Has a knob of every kind (nowhere, 2020)." in texts(at)


def test_knobs_are_read_from_the_address(open_page):
    at = open_page("run_live", technique="quantization", quantization_bits="3", seed="7", classes=["food", "flag"])
    run_button(at).click().run()
    (job,) = Queue().list()
    assert job.spec.techniques[0]["bits"] == 3
    assert (job.spec.seed, job.spec.classes) == (7, ("food", "flag"))


def test_run_queues_the_spec_of_the_form_and_names_the_job_in_the_address(open_page, queue):
    at = open_page("run_live")
    at.slider(key="quantization_bits").set_value(5)
    at.number_input(key="steps").set_value(4)
    run_button(at).click().run()
    assert not at.exception
    (job,) = queue.list()
    assert (job.spec.techniques[0]["bits"], job.spec.steps, job.again) == (5, 4, False)
    assert at.query_params["job"] == str(job.id)


def test_no_technique_is_the_baseline(open_page, queue):
    at = open_page("run_live")
    at.selectbox(key="technique-0-quantization").select("none").run()
    run_button(at).click().run()
    assert queue.list()[0].spec.techniques == ()


def test_the_workload_of_the_bundled_records_is_the_default(open_page, queue):
    put(quantized(8, steps=11, guidance=3.0, samples=500))
    at = open_page("run_live")
    at.slider(key="quantization_bits").set_value(2)
    run_button(at).click().run()
    spec = queue.list()[0].spec
    assert (spec.steps, spec.guidance, spec.samples) == (11, 3.0, 500)


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
    monkeypatch.setattr("dit_core.ui.live.worker_state", lambda queue: WorkerState(True, job=1))
    at = open_page("run_live", job=str(second))
    assert at.progress[0].text == "Waiting: 1 job before this one, job 1 has the device"


def test_a_running_job_tells_stage_step_and_time(open_page, queue):
    job = queue.submit(quantized(4))
    queue.claim()
    queue.progress(job, "candidate", 5, 20)
    at = open_page("run_live", job=str(job))
    assert at.progress[0].text.startswith("Making the candidate's images · 5 of 20 · ")
    assert "elapsed" in at.progress[0].text
    assert 0 < at.progress[0].value < 100


def test_time_left_comes_from_earlier_runs_of_the_same_size(open_page, queue, monkeypatch):
    done = queue.submit(quantized(8))
    queue.claim()
    started = queue.get(done).started_at
    monkeypatch.setattr(time, "time", lambda: started + 100)
    queue.finish(done, "done", run_id="0" * 12)
    job = queue.submit(quantized(4))
    queue.claim()
    at = open_page("run_live", job=str(job))
    assert "about 2 min left" in at.progress[0].text


def test_both_previews_are_shown_while_they_form(open_page, queue):
    job = queue.submit(quantized(4))
    queue.claim()
    assert alts(open_page("run_live", job=str(job))) == [
        "Baseline, not begun",
        "Quantization, not begun",
    ]
    (queue.folder(job) / "baseline.png").write_bytes(make_sheets()["baseline"])
    assert alts(open_page("run_live", job=str(job)))[0] == "Baseline, forming"


def test_a_torn_preview_does_not_break_the_page(open_page, queue):
    job = queue.submit(quantized(4))
    queue.claim()
    (queue.folder(job) / "baseline.png").write_bytes(make_sheets()["baseline"][:40])
    assert alts(open_page("run_live", job=str(job)))[0] == "Baseline, not begun"


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
    assert at.error[0].value == "The reason. The hint."
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
    assert (techniques.parse_argument(argument),) == quantized(4).techniques


def test_a_known_run_is_there_at_once_and_can_be_measured_again(open_page, queue):
    put(quantized(4))
    at = open_page("run_live", quantization_bits="4")
    assert "bundled" in texts(at)
    run_button(at).click().run()
    assert queue.list() == []
    at.button(key="again").click().run()
    (job,) = queue.list()
    assert (job.spec, job.again) == (quantized(4), True)


def test_unknown_figures_say_why_instead_of_a_number(open_page):
    put(quantized(4, samples=0))
    at = open_page("run_live", quantization_bits="4", judged="0")
    distance = next(metric for metric in at.metric if metric.label == "Distance")
    assert distance.value == "–"
    assert distance.help == "no samples were judged: set samples to 1000 or more"


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


def test_the_baseline_of_a_new_machine_can_be_measured_too(open_page, queue):
    put(quantized(4))
    at = open_page("run_live", quantization_bits="4")
    at.button(key="base").click().run()
    assert queue.list()[0].spec == baseline()


def test_an_impossible_pair_of_knobs_is_one_line_and_cannot_be_run(open_page):
    at = open_page("run_live", quantization_mode="dynamic-int8", quantization_bits="4")
    (error,) = at.error
    assert error.value == "quantization: mode dynamic-int8 computes in 8 bits: set bits to 8."
    assert run_button(at).disabled


def test_knobs_that_do_not_go_with_the_model_are_one_line_and_cannot_be_run(open_page):
    at = open_page("run_live", technique="grouped_query_attention", grouped_query_attention_kv_heads="5")
    (error,) = at.error
    assert error.value.startswith("grouped_query_attention does not fit this network: kv_heads 5 does not divide")
    assert run_button(at).disabled


def test_what_this_device_cannot_run_is_refused_with_the_reason(open_page, everything):
    at = open_page("run_live", technique="test_run_live", test_run_live_pick="b")
    assert at.error[0].value == "test_run_live cannot run here: it needs a device that this machine lacks."
    assert run_button(at).disabled


@pytest.mark.parametrize(("key", "value"), [("steps", 0), ("batch", -1), ("judged", 10**9)])
def test_a_number_out_of_range_never_reaches_the_queue(open_page, key, value, queue):
    at = open_page("run_live")
    at.number_input(key=key).set_value(value)
    run_button(at).click().run()
    assert not at.exception
    assert all(job.spec == RunSpec(techniques=job.spec.techniques, samples=1000) for job in queue.list())


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
    assert "cannot be used" in at.error[0].value


def test_a_record_that_vanished_is_told(open_page, queue):
    job = queue.submit(quantized(4))
    queue.claim()
    queue.finish(job, "done", run_id="0" * 12)
    assert "cannot be read any more" in texts(open_page("run_live", job=str(job)))


def test_a_damaged_sheet_costs_the_picture_only(open_page):
    put(quantized(4))
    for sheet in (Store().root / "sheets").iterdir():
        sheet.write_bytes(b"not a picture")
    at = open_page("run_live", quantization_bits="4")
    assert "The sheet is missing or was damaged." in texts(at)
    assert at.metric


@pytest.mark.parametrize(
    "spec",
    [
        quantized(3, seed=7, steps=5, guidance=1.5, batch_size=2, classes=("food", "flag"), scheduler="ddim"),
        RunSpec(techniques=techniques.canonical([{"name": "quantization", "mode": "dynamic-int8", "group_size": 128}])),
        RunSpec(samples=3),
        RunSpec(samples=500, replicates=3),
    ],
)
def test_a_link_to_a_spec_opens_the_form_with_its_inputs(open_page, queue, spec):
    run_button(open_page("run_live", **form.address(spec))).click().run()
    assert queue.list()[0].spec == spec


def test_knobs_of_every_kind_survive_a_link(open_page, queue, everything):
    knobs = {
        "switch": False,
        "few": 7,
        "many": 9,
        "share": 0.3,
        "word": "some words",
        "pick": "a",
        "long_pick": 6,
        "recover": "none",
    }
    spec = RunSpec(techniques=({"name": "test_run_live", **knobs},), samples=1000)
    run_button(open_page("run_live", **form.address(spec))).click().run()
    assert queue.list()[0].spec == spec


def test_a_dead_worker_is_replaced_while_somebody_watches(open_page, queue, monkeypatch):
    started = []
    monkeypatch.setattr("dit_core.ui.live.ensure_worker", started.append)
    job = queue.submit(quantized(4))
    queue.claim()
    open_page("run_live", job=str(job))
    assert started


def test_specs_are_equal_however_they_were_made(open_page, queue):
    """The form, the sweep and the command line must hash the same run alike, or known runs would be measured again."""
    run_button(open_page("run_live", quantization_bits="4", judged="1000")).click().run()
    assert queue.list()[0].spec == RunSpec.from_dict(quantized(4).to_dict())


def stack(at) -> list[str]:
    named = at.query_params["technique"]
    return [named] if isinstance(named, str) else named


def test_techniques_are_stacked_moved_and_taken_out(open_page, queue, everything):
    at = open_page("run_live", technique="quantization")
    at.selectbox(key="add-quantization").select("test_run_live").run()
    assert stack(at) == ["quantization", "test_run_live"]
    assert run_button(at).disabled  # quantization packs the weights: nothing can follow it
    at.button(key="Up-test_run_live").click().run()
    assert stack(at) == ["test_run_live", "quantization"]
    run_button(at).click().run()
    assert [technique["name"] for technique in queue.list()[0].spec.techniques] == stack(at)
    at.button(key="Remove-test_run_live").click().run()
    assert stack(at) == ["quantization"]


def test_knobs_stay_as_they_are_when_techniques_change_places(open_page, everything):
    at = open_page(
        "run_live", technique=["quantization", "test_run_live"], quantization_bits="3", test_run_live_few="7"
    )
    at.button(key="Down-quantization").click().run()
    assert at.slider(key="quantization_bits").value == 3
    assert at.slider(key="test_run_live_few").value == 7


def test_a_link_to_a_stack_opens_the_form_with_it(open_page, queue, everything):
    recipe = [{"name": "test_run_live", "few": 2}, {"name": "quantization", "bits": 4}]
    spec = RunSpec(techniques=techniques.canonical(recipe), samples=1000)
    run_button(open_page("run_live", **form.address(spec))).click().run()
    assert queue.list()[0].spec == spec


@pytest.mark.parametrize("named", [["nothing"], ["quantization", "quantization"], [""]])
def test_techniques_that_cannot_be_meant_are_left_out(open_page, named):
    at = open_page("run_live", technique=named)
    assert at.selectbox(key="technique-0-quantization").value == "quantization"


def test_a_word_with_suggestions_takes_others_too(open_page, everything):
    recipe = techniques.canonical([{"name": "test_run_live", "recover": "500"}])
    put(RunSpec(techniques=recipe, samples=1000))
    at = open_page("run_live", technique="test_run_live")
    assert at.selectbox(key="test_run_live_recover").options == ["none"]
    at = open_page("run_live", technique="test_run_live", test_run_live_recover="500")
    assert "recover 500" in texts(at)
    at = open_page("run_live", technique="test_run_live", test_run_live_recover="some")
    assert "none, bundled or a number of training steps" in at.error[0].value


def test_every_registered_technique_has_a_form(open_page):
    for name, found in techniques.registry().items():
        at = open_page("run_live", technique=name)
        keys = {
            widget.key
            for kind in (at.slider, at.selectbox, at.number_input, at.toggle, at.text_input)
            for widget in kind
        }
        keys |= {group.key for group in at.button_group}
        assert {f"{name}_{knob.name}" for knob in found.knobs} <= keys


def test_bundled_weights_are_offered_only_for_the_knobs_that_have_them(open_page, queue):
    at = open_page("run_live", technique="depth_pruning", depth_pruning_keep="4")
    assert at.selectbox(key="depth_pruning_recover").options == ["none", "bundled"]
    assert re.search(r"Bundled: weights that [\d,]+ steps of training left for just these knobs", texts(at))
    at = open_page("run_live", technique="depth_pruning", depth_pruning_keep="5")
    assert at.selectbox(key="depth_pruning_recover").options == ["none"]
    assert re.search(r"No bundled weights for these knobs. There are some for [^.]*keep 4", texts(at))
    at = open_page("run_live", technique="depth_pruning", depth_pruning_keep="5", depth_pruning_recover="bundled")
    assert "these knobs have no bundled weights" in at.error[0].value
    assert run_button(at).disabled


def test_a_preset_fills_in_the_form(open_page, queue):
    at = open_page("run_live")
    at.get_by_key("preset").set_value("Half the depth in 8 bits").run()
    assert stack(at) == ["depth_pruning", "quantization"]
    assert at.selectbox(key="depth_pruning_recover").value == "bundled"
    at.get_by_key("preset").set_value("Quick look").run()
    assert (at.number_input(key="steps").value, at.number_input(key="judged").value) == (4, 0)
    run_button(at).click().run()
    spec = queue.list()[0].spec
    assert [technique["name"] for technique in spec.techniques] == ["depth_pruning", "quantization"]
    assert (spec.steps, spec.samples) == (4, 0)


@pytest.mark.parametrize("name", presets.PRESETS)
def test_every_preset_can_be_run_here(name):
    recipe = techniques.canonical(presets.PRESETS[name].recipe or ())
    techniques.check_available(recipe, "cpu", catalog.network("emoji"))
    recovered.check("emoji", recipe)


def test_random_weights_measure_cost_alone(open_page, queue):
    put(quantized(8))
    at = open_page("run_live", model="random:DiT-S/2@256")
    assert "Random weights make no pictures" in at.info[0].value
    run_button(at).click().run()
    (job,) = queue.list()
    assert (job.spec.model, job.spec.samples, job.spec.classes) == ("random:DiT-S/2@256", 0, ())
    assert at.query_params["model"] == "random:DiT-S/2@256"
    at = open_page("run_live", model="random:DiT-S/2@250")
    assert "a multiple of 16" in at.error[0].value


def test_a_training_tells_its_loss_and_shows_what_it_can_do_so_far(open_page, queue):
    spec = baseline(techniques=techniques.canonical([{"name": "depth_pruning", "keep": 4, "recover": "500"}]))
    job = queue.submit(spec)
    queue.claim()
    queue.progress(job, "train (loss 0.1661)", 120, 500)
    (queue.folder(job) / "candidate.png").write_bytes(make_sheets()["candidate"])
    at = open_page("run_live", job=str(job))
    assert at.progress[0].text.startswith("Training what is left · loss 0.1661 · 120 of 500 · ")
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


def test_the_cost_of_a_run_is_told_before_it_from_earlier_records(open_page):
    assert not any("take at least" in caption.value for caption in open_page("run_live").caption)
    put(baseline())
    at = open_page("run_live", quantization_bits="4")
    seconds = (8 + 1000) * 0.2  # a sheet and what is judged; 1.6 s for a batch of 8
    assert f"at least {words.duration(seconds)}" in texts(at)


def test_a_record_of_other_weights_is_not_taken_for_known(open_page, queue):
    put(quantized(4), environment={"weights": "0" * 12})
    at = open_page("run_live", quantization_bits="4")
    assert not at.metric
    run_button(at).click().run()
    assert len(queue.list()) == 1


@pytest.mark.parametrize("names", [["solver", "step_distillation"], ["step_distillation", "solver"]])
def test_techniques_that_sample_in_different_ways_are_one_line_and_cannot_be_run(open_page, names):
    at = open_page("run_live", technique=names)
    assert at.error[0].value == f"{' and '.join(names)} sample in different ways: use one of them."
    assert run_button(at).disabled


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
    assert at.error[0].value == "The disk is full."
    at.button(key="make-job").click().run()
    assert [(job.kind, job.state) for job in queue.list()] == [("export", "queued"), ("export", "failed")]
