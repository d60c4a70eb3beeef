"""What is told of the time that a run still takes."""

from dataclasses import replace

import pytest

from dit_core.jobs import Queue
from dit_core.spec import RunSpec
from dit_core.ui import reads, waiting
from dit_core.ui.waiting import Seen

START = 1_000.0  # when the job began


@pytest.fixture
def job(tmp_path):
    queue = Queue(tmp_path)
    one = queue.get(queue.submit(RunSpec()))
    assert one
    return replace(one, state="running", started_at=START)


def test_what_is_usual_for_the_size_is_counted_down(job):
    assert waiting.left(job, "speed", START + 20, Seen(START, 0), 120.0) == "about 1 min 40 s left"


def test_a_run_that_takes_longer_than_usual_says_so_and_makes_nothing_up(job):
    running = replace(job, step=2, of=30)
    assert waiting.left(running, "speed", START + 200, Seen(START + 90, 0), 120.0) == "longer than the usual 2 min"


def test_timing_has_no_pace_for_it_ends_by_the_clock(job):
    running = replace(job, step=5, of=30)
    assert waiting.left(running, "speed", START + 300, Seen(START, 0), None) == ""


def test_a_stage_of_like_steps_has_a_pace_once_some_were_seen(job):
    one, three = (replace(job, step=step, of=13) for step in (11, 13))
    assert waiting.left(one, "quality", START + 60, Seen(START + 30, 10), None) == ""
    running = replace(three, of=23)
    assert (
        waiting.left(running, "quality", START + 60, Seen(START + 30, 10), None)
        == "about 1 min 40 s left in this stage"
    )


def test_no_more_is_told_to_be_left_than_the_time_limit_allows(job):
    running = replace(job, step=3, of=100_000, time_limit_s=600.0)
    told = waiting.left(running, "train", START + 60, Seen(START, 0), None)
    assert told == "at this pace it meets its limit of 10 min first"


def test_what_is_usual_comes_from_the_latest_runs_and_of_two_from_the_less_disturbed(job):
    ended = [replace(job, state="done", ended_at=START + took) for took in (1_560.0, 60.0)]
    assert reads.usual_seconds(RunSpec(), ended) == 60.0
    old = [replace(job, state="done", ended_at=START + 5_000) for _ in range(50)]
    assert reads.usual_seconds(RunSpec(), [*reversed(ended * 5), *old]) == 60.0
