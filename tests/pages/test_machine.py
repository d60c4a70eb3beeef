"""The page This machine: load, queue, bundled weights, and what the techniques can do on this device."""

from urllib.parse import urlencode

from dit_core.experiment.doctor import bundled_settings
from dit_core.recipes.registry import registry
from dit_core.records.spec import RunSpec
from dit_core.ui import format
from dit_core.ui.machine.gauges import Gauge
from dit_core.ui.run_live import form
from tests.pages.conftest import quantized, texts


def test_every_technique_is_explained_under_its_family(open_page):
    at = open_page("machine")
    for technique in registry().values():
        assert technique.summary in texts(at)
    assert {found.family.capitalize() for found in registry().values()} < {head.value for head in at.subheader}


def test_every_technique_has_one_row_that_leads_to_its_form(open_page):
    links = open_page("machine").page_link
    named = {query: link.value for link in links if (query := link.proto.query_string).startswith("technique=")}
    assert named == {
        urlencode(form.technique_address(found.name)): f"**{found.title}**" for found in registry().values()
    }
    assert "technique=depth_pruning&depth_pruning_recover=bundled" in named


def test_what_the_device_does_not_support_is_shown_once_with_its_reason(open_page, everything):
    text = texts(open_page("machine"))
    assert text.count("pick b: it needs a device that this machine lacks.") == 1
    assert "mode float8 needs" in text
    assert "mode float8: mode float8" not in text


def test_jobs_of_the_queue_are_named_by_the_knobs_that_differ(open_page, queue):
    for bits in (4, 2):
        queue.submit(quantized(bits))
    labels = [link.value for link in open_page("machine").page_link]
    assert {"Job 1: Quantization, bits 4", "Job 2: Quantization, bits 2"} <= set(labels)


def test_knobs_are_explained_on_request(open_page):
    at = open_page("machine")
    assert not at.table
    at.session_state["about-quantization"] = True
    assert "Bits" in str(at.run().table[0].value)


def test_bundled_weights_are_listed_by_model_on_request(open_page):
    at = open_page("machine")
    at.session_state["bundled-weights"] = True
    tables = [table.value for table in at.run().table]
    settings = bundled_settings()
    assert len(tables) == len({setting.model for setting in settings})
    assert sum(len(table) for table in tables) == len(settings)
    recipes = {recipe for table in tables for recipe in table["Recipe"]}
    assert recipes == {format.recipe(RunSpec(techniques=setting.recipe)) for setting in settings}


def test_the_queue_lists_jobs_and_lets_a_waiting_one_be_cancelled(open_page, queue):
    job = queue.submit(quantized(4))
    at = open_page("machine")
    assert any(f"Job {job}" in link.value for link in at.page_link)
    at.button(key=f"cancel-{job}").click().run()
    assert queue.get(job).state == "cancelled"
    assert "cancelled" in texts(at)


def test_to_cancel_the_job_of_another_browser_takes_a_confirmation(open_page, queue):
    other, own = queue.submit(quantized(), owner="0123456789abcdef"), queue.submit(quantized(8))
    at = open_page("machine")
    assert "submitted this job in another browser. Cancel it anyway?" in texts(at)
    labels = {key: at.button(key=f"cancel-{key}").label for key in (other, own)}
    assert labels == {other: "Cancel the job", own: "Cancel"}
    at.button(key=f"cancel-{other}").click().run()
    assert [queue.get(job).state for job in (other, own)] == ["cancelled", "queued"]


def test_a_job_belongs_to_the_browser_that_submitted_it(open_page, queue):
    at = open_page("run_live")
    at.button(key="run").click().run()
    (job,) = queue.list()
    assert job.owner == at.session_state["dit_browser"]
    assert ":blue-badge[:material/person: you]" in texts(at)
    assert at.button(key="cancel").label == "Cancel"


def test_an_export_in_the_queue_is_named_as_an_export(open_page, queue):
    queue.submit(quantized(4), kind="export")
    labels = [link.value for link in open_page("machine").page_link]
    assert any(label.startswith("Job 1: Export of Quantization") for label in labels)


def test_it_shows_the_current_load_of_a_gpu(open_page, monkeypatch):
    gpu = ("NVIDIA Test", [Gauge("Power", "212 W"), Gauge("Temperature", "–", "This GPU does not report it.")])
    monkeypatch.setattr("dit_core.ui.machine.gauges.gpus", lambda: ([gpu], ""))
    at = open_page("machine")
    shown = {metric.label: (metric.value, metric.help) for metric in at.metric}
    assert shown["Power"] == ("212 W", "")
    assert shown["Temperature"] == ("–", "This GPU does not report it.")
    assert "NVIDIA Test" in texts(at)
    assert "Memory" in shown


def test_without_a_gpu_it_says_why(open_page, monkeypatch):
    monkeypatch.setattr("dit_core.ui.machine.gauges.gpus", lambda: ([], "NVML finds no NVIDIA GPU here."))
    assert "No GPU readings: NVML finds no NVIDIA GPU here." in texts(open_page("machine"))
