"""Forecasts of whole runs from the times in records and from what earlier jobs took."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from dit_core.experiment.known import local_environment
from dit_core.jobs.job import PICTURES
from dit_core.jobs.queue import Queue
from dit_core.measure.interleaved import Plan, measure_pair
from dit_core.recipes.recipe import canonical
from dit_core.records.spec import RunSpec
from dit_core.records.store import Stored
from dit_core.ui import data, forecast
from tests.factory import make_record

INT8 = RunSpec(samples=1000, techniques=canonical([{"name": "quantization", "bits": 8}]))
STEP_S = 0.010  # of an image of the baseline, in `tests.factory`


@pytest.fixture
def records(monkeypatch, tmp_path):
    """A list of records that were all made here, newest first."""
    known: list[Stored] = []
    monkeypatch.setattr(data, "loaded", lambda: SimpleNamespace(records=known))

    def add(spec: RunSpec, **overrides) -> None:
        here = {"environment": local_environment("cpu"), **overrides}
        known.insert(0, Stored(make_record(spec, **here), "local", tmp_path / f"{len(known)}.json"))

    return add


@pytest.fixture
def ended(tmp_path):
    """A function that returns a finished job of a spec that took so many seconds."""
    queue = Queue(tmp_path)
    job = queue.get(queue.submit(RunSpec()))
    assert job

    def make(spec: RunSpec, seconds: float, kind: str = "run"):
        return replace(job, spec=spec, kind=kind, state="done", started_at=1_000.0, ended_at=1_000.0 + seconds)

    return make


def seconds(spec: RunSpec, jobs=()) -> float:
    found = forecast.run_forecast(spec, jobs)
    assert found
    return found.seconds


def test_without_a_record_of_the_model_there_is_no_forecast(records, ended):
    assert forecast.run_forecast(INT8, [ended(INT8, 60.0)]) is None
    records(INT8)
    assert forecast.run_forecast(replace(INT8, model="emoji-wide"), []) is None


def test_the_first_run_of_a_workload_also_draws_and_judges_the_images_of_the_baseline(records, ended):
    records(INT8.baseline)
    pace = forecast.pace_of(INT8)
    assert pace
    assert pace.baseline_s == pytest.approx(INT8.steps * STEP_S)
    known = [ended(replace(INT8, techniques=canonical([{"name": "quantization", "bits": 4}])), 60.0)]
    more = forecast.parts_seconds(INT8, pace, []) - forecast.parts_seconds(INT8, pace, known)
    drawn = 1000 - forecast.SHEET_IMAGES
    assert more == pytest.approx(forecast.LARGE_BATCH * drawn * pace.baseline_s + 1000 * forecast.JUDGED_S)


def test_a_recipe_has_the_pace_of_its_own_records_else_of_its_speed_up_elsewhere_else_of_its_steps(records):
    records(INT8.baseline)
    unipc = replace(INT8, techniques=canonical([{"name": "solver", "scheduler": "unipc", "steps": INT8.steps // 2}]))

    def candidate_s(spec: RunSpec) -> float:
        pace = forecast.pace_of(spec)
        assert pace
        return pace.candidate_s

    assert candidate_s(unipc) == pytest.approx(INT8.steps // 2 * STEP_S)
    elsewhere = {"ratio": 4.0, "low": 3.9, "high": 4.1, "baseline_latency_s": 0.1}
    records(unipc, environment={"fingerprint": "elsewhere"}, speedup=elsewhere)
    assert candidate_s(unipc) == pytest.approx(INT8.steps * STEP_S / 4)
    records(unipc, latency={"latency_s": 0.8})
    assert candidate_s(unipc) == pytest.approx(0.8 / unipc.batch_size)


def test_what_earlier_jobs_took_besides_their_parts_is_added(records, ended):
    records(INT8.baseline)
    fewer = replace(INT8, samples=64)
    pace = forecast.pace_of(fewer)
    assert pace
    slow = ended(fewer, forecast.parts_seconds(fewer, pace, []) + 100.0)
    assert seconds(INT8, [slow]) == pytest.approx(forecast.parts_seconds(INT8, pace, [slow]) + 100.0)
    assert seconds(INT8, []) == pytest.approx(forecast.parts_seconds(INT8, pace, []) + forecast.OTHER_S)


def test_a_run_that_was_repeated_here_takes_what_the_repetitions_took(records, ended):
    records(INT8)
    assert seconds(INT8, [ended(INT8, 40.0), ended(INT8, 90.0)]) == 40.0


def test_training_and_compilation_take_longer(records):
    records(INT8.baseline)
    depth = replace(INT8, techniques=canonical([{"name": "depth_pruning", "keep": 4}]))
    trained = replace(INT8, techniques=canonical([{"name": "depth_pruning", "keep": 4, "recover": "100"}]))
    images = 100 * forecast.TRAINING_BATCH * forecast.TRAINING_PASSES
    assert seconds(trained) - seconds(depth) == pytest.approx(images * STEP_S / 2)  # guidance has two passes a step
    compiled = replace(INT8, techniques=canonical([{"name": "compilation"}]))
    times = dict(zip(forecast.COMPILATION, (9.0, 2.0, 0.2, 0.1), strict=True))
    before = seconds(compiled)
    records(replace(compiled, seed=1), latency={"compilation": times})
    assert seconds(compiled) - before == pytest.approx(9.0 + 2.0 * forecast.COMPILED_PROCESSES)


def test_pictures_take_what_earlier_pictures_took_besides_their_images(records, ended):
    records(INT8.baseline)
    assert forecast.pictures_seconds(INT8, []) is None
    pace = forecast.pace_of(INT8)
    assert pace
    other = replace(INT8, techniques=canonical([{"name": "quantization", "bits": 3}]))
    job = ended(other, forecast.sheets_seconds(other, pace) + 20.0, PICTURES)
    assert forecast.pictures_seconds(INT8, [job]) == pytest.approx(forecast.sheets_seconds(INT8, pace) + 20.0)


@pytest.mark.parametrize("call_s", [(0.05, 0.05), (0.2, 0.05), (2.0, 1.0), (9.0, 9.0), (0.3,)])
def test_the_expected_time_of_a_process_is_that_of_its_plan(call_s):
    clock = 0.0

    def call(seconds: float):
        def advance() -> None:
            nonlocal clock
            clock += seconds

        return advance

    calls = [call(seconds) for seconds in call_s]
    measure_pair(calls[0], calls[1] if len(calls) > 1 else None, clock=lambda: clock)
    assert Plan().expected_s(*call_s) == pytest.approx(clock, rel=0.3)
