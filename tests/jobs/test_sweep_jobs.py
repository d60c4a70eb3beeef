"""Sweeps in the queue: their turns, their places, what is skipped, how they end and how they go on."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from dit_core.errors import BadRequest
from dit_core.jobs.job import Job
from dit_core.jobs.queue import MOST_RUNS, Queue
from dit_core.records.spec import RunSpec


@pytest.fixture
def queue(tmp_path: Path) -> Queue:
    return Queue(tmp_path / "queue")


def sweep(queue: Queue, *seeds: int) -> int:
    return queue.submit_sweep([RunSpec(seed=seed) for seed in seeds])


def jobs(queue: Queue, number: int) -> tuple[Job, ...]:
    found = queue.sweep(number)
    assert found is not None
    return found.jobs


def states(queue: Queue, number: int) -> list[str]:
    return [job.state for job in jobs(queue, number)]


def work(queue: Queue, most: int = 99) -> list[int]:
    """Let jobs end one after another; the seeds of those that had their turn."""
    seeds = []
    while len(seeds) < most and (job := queue.claim()):
        seeds.append(job.spec.seed)
        queue.finish(job.id, "done", run_id=job.spec.run_id)
    return seeds


def test_the_runs_of_a_sweep_are_jobs_bound_by_the_id_of_the_first(queue: Queue):
    queue.submit(RunSpec())
    number = sweep(queue, 1, 2, 1)
    assert [(job.id, job.sweep, job.spec.seed) for job in jobs(queue, number)] == [(2, 2, 1), (3, 2, 2)]
    assert [job.sweep for job in queue.list(single=True)] == [None]
    assert queue.sweep(1) is None


@pytest.mark.parametrize("runs", [0, MOST_RUNS + 1])
def test_a_sweep_of_no_run_or_of_too_many_is_refused_whole(queue: Queue, runs: int):
    with pytest.raises(BadRequest, match=f"1 to {MOST_RUNS} runs, got {runs}"):
        sweep(queue, *range(runs))
    assert queue.list() == []


def test_a_single_run_goes_before_what_waits_of_every_sweep(queue: Queue):
    sweep(queue, 1, 2)
    first = work(queue, 1)
    queue.submit(RunSpec(seed=10))
    queue.submit(RunSpec(seed=11), kind="export")
    assert first + work(queue) == [1, 10, 11, 2]


def test_sweeps_have_one_run_each_in_turn(queue: Queue):
    sweep(queue, 1, 2, 3)
    first = work(queue, 1)
    sweep(queue, 21, 22)
    second = work(queue, 1)
    sweep(queue, 31)
    assert first + second + work(queue) == [1, 21, 31, 2, 22, 3]


def test_a_place_counts_what_comes_before_in_the_order_of_turns(queue: Queue):
    a, b = sweep(queue, 1, 2, 3), sweep(queue, 21, 22)
    single = queue.submit(RunSpec(seed=10))
    expected = {single: 0, a: 1, b: 2, a + 1: 3, b + 1: 4, a + 2: 5}
    assert {job_id: queue.position(job_id) for job_id in expected} == expected
    queue.claim()
    assert {job_id: queue.position(job_id) for job_id in expected} == expected
    queue.finish(single, "done")
    order = sorted(expected, key=lambda job_id: expected[job_id])[1:]
    while order:
        assert [queue.position(job_id) for job_id in order] == list(range(len(order)))
        found = queue.claim()
        assert found is not None
        assert found.id == order.pop(0)
        queue.finish(found.id, "done")


def test_what_is_known_when_its_turn_comes_is_skipped_and_costs_no_turn(queue: Queue):
    number = sweep(queue, 1, 2, 3)
    known = {RunSpec(seed=seed).run_id for seed in (1, 3)}
    found = queue.claim(lambda spec: spec.run_id if spec.run_id in known else None)
    assert found is not None
    assert found.spec.seed == 2
    queue.finish(found.id, "done", run_id=found.spec.run_id)
    assert queue.claim(lambda spec: spec.run_id) is None
    assert states(queue, number) == ["done"] * 3
    assert [job.skipped for job in jobs(queue, number)] == [True, False, True]
    assert [job.run_id for job in jobs(queue, number)] == [RunSpec(seed=seed).run_id for seed in (1, 2, 3)]


def test_a_single_run_is_never_skipped(queue: Queue):
    job_id = queue.submit(RunSpec())
    found = queue.claim(lambda spec: spec.run_id)
    assert found is not None
    assert found.id == job_id


def test_a_failed_run_does_not_end_its_sweep_and_keeps_its_reason(queue: Queue):
    number = sweep(queue, 1, 2)
    queue.claim()
    queue.finish(number, "out-of-memory", reason="Memory ran out.")
    assert work(queue) == [2]
    found = queue.sweep(number)
    assert found is not None
    assert (found.state, [job.reason for job in found.failed]) == ("done", ["Memory ran out."])


def test_cancelling_a_sweep_ends_what_waits_stops_what_runs_and_touches_no_other_job(queue: Queue):
    single, mine, other = queue.submit(RunSpec()), sweep(queue, 1, 2, 3), sweep(queue, 1, 2)
    work(queue, 1)
    work(queue, 1)
    queue.claim()  # the other's first
    queue.finish(other, "done")
    queue.claim()
    queue.cancel_sweep(mine)
    assert states(queue, mine) == ["done", "running", "cancelled"]
    assert jobs(queue, mine)[1].cancelling
    assert states(queue, other) == ["done", "queued"]
    assert queue.list(single=True)[0].state == "done"
    queue.finish(mine + 1, "cancelled")
    found = queue.sweep(mine)
    assert found is not None
    assert (found.active, found.state) == (False, "cancelled")
    assert queue.position(other + 1) == 0
    assert single < mine


def test_a_run_that_its_worker_leaves_waits_again_and_goes_first(queue: Queue):
    number = sweep(queue, 1, 2)
    for _ in range(5):
        queue.claim()
        queue.progress(number, "candidate", 3, 20)
        queue.put_back(number)
    found = jobs(queue, number)[0]
    assert (found.state, found.stage, found.started_at, found.tries) == ("queued", "", None, 0)
    assert work(queue) == [1, 2]


def test_a_single_run_and_one_that_was_cancelled_do_not_wait_again(queue: Queue):
    single, number = queue.submit(RunSpec()), sweep(queue, 1)
    queue.claim()
    queue.claim()
    queue.cancel_sweep(number)
    for job_id in (single, number):
        queue.put_back(job_id)
    assert [job.state for job in queue.list()] == ["running", "running"]


def test_after_a_dead_worker_a_sweep_goes_on_unless_the_same_run_was_there_each_time(queue: Queue):
    number = sweep(queue, 1, 2)
    for state in ("queued", "queued", "failed"):
        queue.claim()
        queue.recover()
        assert states(queue, number) == [state, "queued"]
    assert "worker died" in jobs(queue, number)[0].reason
    assert work(queue) == [2]


def test_sweeps_under_way_are_listed_first_and_then_the_newest(queue: Queue):
    old, ended, newest = sweep(queue, 1, 2), sweep(queue, 3), sweep(queue, 4)
    for number in (ended, newest):
        queue.cancel_sweep(number)
    assert [found.id for found in queue.sweeps()] == [old, newest, ended]
    assert [found.id for found in queue.sweeps(limit=2)] == [old, newest]
    assert [found.id for found in queue.sweeps(active=True)] == [old]


def test_time_left_comes_from_the_runs_that_were_measured_and_counts_what_comes_before_the_last(queue: Queue):
    number = sweep(queue, 1, 2, 3, 4)
    assert left(queue, number, 0.0) is None
    queue.claim()
    queue.finish(number, "done")
    queue.claim()
    times = "UPDATE jobs SET started_at = ?, ended_at = ? WHERE id = ?"
    with closing(sqlite3.connect(queue.root / "jobs.sqlite3", isolation_level=None)) as db:
        db.execute(times, (1000.0, 1060.0, number))
        db.execute(times, (1060.0, None, number + 1))
    assert left(queue, number, 1070.0) == pytest.approx(50 + 2 * 60)
    assert left(queue, number, 9999.0) == pytest.approx(2 * 60)
    queue.submit(RunSpec(seed=10))
    sweep(queue, 21, 22)
    assert left(queue, number, 1060.0) == pytest.approx(3 * 60 + 60 + 2 * 60)


def left(queue: Queue, number: int, now: float) -> float | None:
    found = queue.sweep(number)
    assert found is not None
    return found.seconds_left(now, queue.position(found.jobs[-1].id))


@pytest.mark.parametrize("version", [0, 1])
def test_a_queue_from_before_there_were_sweeps_goes_on(queue: Queue, version: int):
    old = queue.submit(RunSpec(seed=1))
    with closing(sqlite3.connect(queue.root / "jobs.sqlite3", isolation_level=None)) as db:
        db.execute("DROP INDEX jobs_by_sweep")
        for column in ("sweep", "tries", *(["kind"] if version == 0 else [])):
            db.execute(f"ALTER TABLE jobs DROP COLUMN {column}")
        db.execute(f"PRAGMA user_version = {version}")
    number = sweep(queue, 2)
    queue.submit(RunSpec(seed=3))
    assert [(job.id, job.kind, job.sweep) for job in queue.list()] == [
        (3, "run", None),
        (number, "run", number),
        (old, "run", None),
    ]
    assert work(queue) == [1, 3, 2]
