"""There is one worker for a queue: a second is refused, a killed one is replaced."""

import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress

import psutil
import pytest

from dit_core.errors import BadRequest
from dit_core.jobs.queue import Queue, QueueError
from dit_core.jobs.worker import WORKER, Worker, ensure_worker, serving, stop_worker, worker_state
from dit_core.records.spec import RunSpec
from dit_core.records.store import Store
from tests.fake_job import run_job
from tests.jobs.test_worker import ended, job, runaway, submit
from tests.workers import PATIENCE_S, REPOSITORY, lives, until

pytestmark = pytest.mark.slow


def test_a_second_worker_is_refused_and_the_first_goes_on(queue: Queue, work: Callable[..., Worker]):
    work()
    until(lambda: worker_state(queue).alive)
    with pytest.raises(BadRequest, match="Another worker"):
        Worker(queue, run_job).run()
    assert ended(queue, submit(queue, "quick")).state == "done"


def test_a_killed_worker_takes_its_job_with_it_and_the_next_worker_says_so(
    queue: Queue, process: Callable[[], subprocess.Popen]
):
    hanging, after = submit(queue, "deaf"), submit(queue, "quick")
    worker = process()
    pid = runaway(queue, hanging)
    worker.kill()
    worker.wait()
    assert not worker_state(queue).alive
    process()
    found = ended(queue, hanging)
    assert (found.state, found.reason) == ("failed", "The worker died while this job ran.")
    assert not lives(pid)
    assert ended(queue, after).state == "done"


def test_a_child_dies_with_its_killed_worker_even_if_no_other_worker_comes(
    queue: Queue, process: Callable[[], subprocess.Popen]
):
    job_id = submit(queue, "polite")
    worker = process()
    until(lambda: job(queue, job_id).step)
    family = psutil.Process(worker.pid).children(recursive=True)
    assert family
    worker.kill()
    worker.wait()
    until(lambda: not any(lives(process.pid) for process in family))


def test_a_worker_killed_at_any_moment_loses_no_record_and_leaves_no_job_running(
    queue: Queue, process: Callable[[], subprocess.Popen]
):
    moments = random.Random(0)
    ids = [queue.submit(RunSpec(model="quick", seed=seed)) for seed in range(6)]
    for _ in range(3):
        worker = process()
        until(lambda: worker_state(queue).alive)
        time.sleep(moments.uniform(0.0, 0.8))
        worker.kill()
        worker.wait()
    process()
    jobs = [ended(queue, job_id) for job_id in ids]
    loaded = Store().load()
    assert {found.state for found in jobs} <= {"done", "failed"}
    assert {found.run_id for found in jobs if found.run_id} <= {item.record.run_id for item in loaded.records}
    assert loaded.skipped == []


def test_a_worker_asked_to_stop_ends_its_job_with_a_reason_and_leaves_the_rest_waiting(
    queue: Queue, process: Callable[[], subprocess.Popen]
):
    running, waiting = submit(queue, "deaf"), submit(queue, "quick")
    worker = process()
    pid = runaway(queue, running)
    assert worker_state(queue).job == running
    stop_worker(queue)
    assert worker.wait() == 0
    assert (job(queue, running).state, job(queue, running).reason) == (
        "failed",
        "The worker was stopped while this job ran.",
    )
    assert not lives(pid)
    assert job(queue, waiting).state == "queued"


def test_many_pages_ask_for_a_worker_at_once_and_one_lives(queue: Queue):
    pages = [threading.Thread(target=ensure_worker, args=(queue,)) for _ in range(6)]
    dashboard = ExitStack()
    dashboard.enter_context(serving(queue))
    try:
        for page in pages:
            page.start()
        for page in pages:
            page.join()
        until(lambda: worker_state(queue).pid)
        first = worker_state(queue)
        until(lambda: len(workers(queue)) == 1)
        ensure_worker(queue)
        assert worker_state(queue) == first
        assert workers(queue) == [first.pid]
        assert first.since is not None
        assert os.getsid(first.pid or 0) == first.pid  # in a session of its own: it outlives its starter's terminal
    finally:
        stop_worker(queue)
        dashboard.close()
    assert not worker_state(queue).alive
    stop_worker(queue)


def workers(queue: Queue) -> list[int]:
    """The processes that run the worker's module on this queue."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get("DIT_QUEUE") == str(queue.root) and WORKER[-1] in process.cmdline():
                found.append(process.pid)
    return found


def test_the_worker_command_refuses_to_be_the_second_in_one_line(queue: Queue, work: Callable[..., Worker]):
    work()
    until(lambda: worker_state(queue).alive)
    result = subprocess.run(
        [sys.executable, "-m", "dit_core.jobs.worker"], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert result.returncode == 1
    assert result.stderr.startswith("Another worker works on")
    assert result.stderr.count("\n") == 1


def test_a_worker_whose_queue_was_taken_away_ends_so_that_there_are_never_two(
    queue: Queue, process: Callable[[], subprocess.Popen]
):
    worker = process()
    until(lambda: worker_state(queue).alive)
    queue.root.rename(queue.root.with_name("away"))
    assert worker.wait(PATIENCE_S) == 0


def test_looking_at_the_worker_does_not_keep_one_from_starting(queue: Queue, work: Callable[..., Worker]):
    stop, failures = threading.Event(), []

    def look() -> None:
        while not stop.is_set():
            try:
                worker_state(queue)
            except QueueError as error:
                failures.append(error)

    lookers = [threading.Thread(target=look) for _ in range(2)]
    for looker in lookers:
        looker.start()
    try:
        work()
        until(lambda: worker_state(queue).alive)
    finally:
        stop.set()
        for looker in lookers:
            looker.join()
    assert failures == []
