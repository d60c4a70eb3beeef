"""Run live on a machine that the bundled records are not from."""

from dataclasses import replace

import pytest

from dit_core.experiment.known import local_environment
from dit_core.records.spec import RunSpec
from dit_core.ui import forecast, format, provenance
from tests.factory import make_record
from tests.pages.conftest import baseline, put, put_here, quantized, run_button, texts

CLOSE = {"distance": 1520.0, "low": 1470.0, "high": 1570.0}
FAR = {"distance": 2500.0, "low": 2400.0, "high": 2600.0}
BASE = {"distance": 1500.0, "low": 1450.0, "high": 1550.0}


def test_a_record_from_another_machine_says_so_and_one_click_measures_the_run_here(open_page, queue):
    put(quantized(4))
    at = open_page("run_live", quantization_bits="4")
    message = at.info[0].value
    assert message.startswith(
        "The result below is from another machine, Test CPU, 2 threads, and so are its times and memory."
    )
    assert "No run of this model has finished on this machine yet." in message
    assert "computer: Test CPU, 2 threads]" in texts(at)
    assert "Already measured" not in texts(at)
    assert (run_button(at).label, at.button(key="again").label) == ("Measure here", "Measure here")
    run_button(at).click().run()
    (job,) = queue.list()
    assert (job.spec, job.again) == (quantized(4), True)


def test_a_record_of_this_machine_is_shown_before_others(open_page, queue):
    put(quantized(4))
    put_here(quantized(4), latency={"latency_s": 0.321})
    at = open_page("run_live", quantization_bits="4")
    assert next(metric.value for metric in at.metric if metric.label == "Latency") == "321 ms"
    assert "computer:" not in texts(at)
    assert (run_button(at).label, at.button(key="again").label) == ("Run", "Measure again")
    run_button(at).click().run()
    assert queue.list() == []


def test_other_versions_on_this_machine_differ_from_another_machine():
    own = local_environment("cpu")
    same = make_record(environment=own)
    older = make_record(environment={**own, "torch": "1.0", "fingerprint": "other"})
    other = make_record()
    assert [provenance.measured_here(record) for record in (same, older, other)] == [True, False, False]
    assert [provenance.difference(record) for record in (same, older)] == ["", "torch 1.0"]
    assert provenance.source(older) == "this machine with torch 1.0"
    assert provenance.source(other) == "another machine, Test CPU, 2 threads"


@pytest.mark.slow
def test_a_record_of_a_device_that_this_machine_lacks_is_from_another_machine():
    record = make_record(RunSpec(device="cuda"), environment={"gpu": "NVIDIA H100", "fingerprint": "f"})
    if local_environment("cuda") is None:
        assert provenance.source(record) == "another machine, NVIDIA H100, 2 threads"


def test_an_estimate_for_this_machine_never_uses_records_of_another(open_page):
    put(baseline())
    told = texts(open_page("run_live", quantization_bits="4"))
    assert "No run of this model has finished on this machine yet. On Test CPU, 2 threads, the run takes about" in told
    put_here(baseline(), latency={"latency_s": 16.0})
    told = texts(open_page("run_live", quantization_bits="4"))
    expected = forecast.run_forecast(replace(quantized(4), samples=1000), [])
    assert expected
    assert expected.seconds > 10 * 1000 * 0.2
    assert f"takes about {format.duration(expected.seconds)}, judging by earlier runs on this machine" in told
    assert "Test CPU" not in told


@pytest.mark.parametrize(("judged", "told"), [(CLOSE, "the intervals of 1,000 images overlap"), (FAR, "much further")])
def test_the_quality_of_a_first_run_here_is_compared_with_the_bundled_baseline(open_page, judged, told):
    put(baseline(), quality=BASE, memory={"peak_memory_bytes": 1})
    put_here(quantized(4), quality=judged)
    at = open_page("run_live", quantization_bits="4")
    assert told in texts(at)
    assert "Quality is compared with the baseline's bundled record from Test CPU, 2 threads" in texts(at)
    delta = {metric.label: metric.delta for metric in at.metric}
    assert delta["Distance (not FID), n=1,000"] == format.change(judged["distance"], 1500.0)
    assert not delta["Peak memory"]  # of another machine it says nothing


def test_quality_is_compared_with_the_baseline_of_this_machine_if_there_is_one(open_page):
    put(baseline(), quality=BASE)
    put_here(baseline(), quality={**BASE, "distance": 1510.0})
    put_here(quantized(4), quality=CLOSE)
    at = open_page("run_live", quantization_bits="4")
    delta = {metric.label: metric.delta for metric in at.metric}
    assert delta["Distance (not FID), n=1,000"] == format.change(1520.0, 1510.0)
    assert "Quality is compared with" not in texts(at)


@pytest.mark.parametrize(
    "unlike",
    [{"quality": {"metric": "FD another"}}, {"quality": {"count": 999}}, {"environment": {"weights": "0" * 12}}],
)
def test_quality_is_not_compared_with_a_baseline_of_another_metric_count_or_weights(open_page, unlike):
    put(baseline(), **{**unlike, "quality": {**BASE, **unlike.get("quality", {})}})
    put_here(quantized(4), quality=FAR)
    at = open_page("run_live", quantization_bits="4")
    assert "Quality is compared with" not in texts(at)
    assert not next(metric.delta for metric in at.metric if metric.label.startswith("Distance"))


def test_the_baseline_of_a_new_machine_can_be_measured_too(open_page, queue):
    put(quantized(4))
    at = open_page("run_live", quantization_bits="4")
    at.button(key="base").click().run()
    assert queue.list()[0].spec == baseline()
