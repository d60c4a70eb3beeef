"""Estimates of how long a run takes."""

from dataclasses import replace

import pytest

from dit_core.jobs.job import Sweep
from dit_core.jobs.queue import Queue
from dit_core.records.spec import RunSpec
from dit_core.ui import eta
from dit_core.ui.eta import StageStart

START = 1_000.0  # Unix time at which the job started


@pytest.fixture
def job(tmp_path):
    queue = Queue(tmp_path)
    submitted = queue.get(queue.submit(RunSpec()))
    assert submitted
    return replace(submitted, state="running", started_at=START)


def test_the_expected_duration_is_counted_down(job):
    assert eta.time_left(job, "speed", START + 20, StageStart(START, 0), 120.0) == "about 1 min 40 s left"


def test_a_run_that_takes_longer_than_expected_says_so_without_a_guess(job):
    running = replace(job, step=2, of=30)
    assert (
        eta.time_left(running, "speed", START + 200, StageStart(START + 90, 0), 120.0) == "longer than expected (2 min)"
    )


def test_timing_has_no_pace_because_it_ends_by_a_time_limit(job):
    running = replace(job, step=5, of=30)
    assert eta.time_left(running, "speed", START + 300, StageStart(START, 0), None) == ""


def test_a_stage_of_even_steps_has_a_pace_after_three_steps(job):
    after_one, after_three = (replace(job, step=step, of=13) for step in (11, 13))
    assert eta.time_left(after_one, "quality", START + 60, StageStart(START + 30, 10), None) == ""
    running = replace(after_three, of=23)
    assert (
        eta.time_left(running, "quality", START + 60, StageStart(START + 30, 10), None)
        == "about 1 min 40 s left in this stage"
    )


def test_the_time_left_is_never_more_than_the_time_limit_allows(job):
    running = replace(job, step=3, of=100_000, time_limit_s=600.0)
    text = eta.time_left(running, "train", START + 60, StageStart(START, 0), None)
    assert text == "will hit the 10 min time limit at this pace"


def test_the_time_left_survives_a_clock_that_is_set_back(job):
    running = replace(job, step=13, of=23)
    hour_ago = START - 3_600
    assert eta.time_left(job, "speed", hour_ago, StageStart(START, 0), 120.0) == "about 2 min left"
    assert eta.time_left(running, "quality", hour_ago, StageStart(START, 0), None) == ""
    backwards = replace(job, state="done", ended_at=hour_ago)
    assert backwards.seconds is None
    waiting = replace(job, state="queued", started_at=None)
    done = replace(job, state="done", ended_at=START + 10)
    assert Sweep(1, (done, backwards, job, waiting)).seconds_left(hour_ago, 1) == 20.0
