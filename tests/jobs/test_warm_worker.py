"""The fork server that an idle worker keeps, with real processes that need no torch; see `tests/fake_job.py`."""

import os
import signal
import subprocess
import threading
from collections.abc import Iterator

import psutil
import pytest

from dit_core.jobs import worker as module
from dit_core.jobs.queue import Job, Queue
from dit_core.jobs.worker import Worker
from dit_core.records.spec import RunSpec
from dit_core.system import isolation
from tests.fake_job import run_job
from tests.jobs.test_worker import ended, job
from tests.workers import lives, processes, until

pytestmark = pytest.mark.slow

GIB = 1 << 30
PRELOAD = "tests.fake_job"


@pytest.fixture
def queue(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> Queue:
    monkeypatch.setattr(module, "available_bytes", lambda: 8 * GIB)
    return queue


@pytest.fixture
def worker(queue: Queue) -> Iterator[Worker]:
    """An idle worker, which is stopped at the end of the test."""
    isolation.stop()
    started = Worker(queue, run_job, preload=PRELOAD, poll_s=0.02, rest_s=0.0)
    thread = threading.Thread(target=started.run)
    thread.start()
    yield started
    started.stop()
    thread.join(60)
    assert not thread.is_alive()
    assert servers() == []


def servers() -> list[int]:
    """The fork servers of this process that live."""
    return [
        process.pid
        for process in psutil.Process().children()
        if lives(process.pid) and any("forkserver" in word for word in process.cmdline())
    ]


def warm_server() -> int:
    """The fork server, as soon as there is one."""
    until(lambda: isolation.is_warm(PRELOAD) and servers())
    (pid,) = servers()
    return pid


def run(queue: Queue, experiment: str) -> Job:
    return ended(queue, queue.submit(RunSpec(model=experiment)))


def test_jobs_run_in_new_processes_of_the_server_that_was_warm(queue: Queue, worker: Worker):
    server = warm_server()
    children = []
    for _ in range(2):
        job_id = queue.submit(RunSpec(model="polite"))
        until(lambda job_id=job_id: job(queue, job_id).step)
        children += [process.pid for process in psutil.Process(server).children()]
        queue.cancel(job_id)
        assert ended(queue, job_id).state == "cancelled"
    assert len(set(children)) == 2
    assert warm_server() == server


def test_the_output_of_a_job_is_its_log(queue: Queue, worker: Worker):
    warm_server()
    ended_job = run(queue, "leaving")
    assert (ended_job.state, ended_job.reason) == ("failed", "Its process ended too early: the driver is missing")
    assert (queue.folder(ended_job.id) / "log.txt").read_text() == "the driver is missing\n"
    assert run(queue, "killed").state == "out-of-memory"


def test_a_server_that_was_killed_costs_only_time(queue: Queue, worker: Worker):
    os.kill(warm_server(), signal.SIGKILL)
    assert run(queue, "quick").state == "done"
    warm_server()


def test_a_server_of_older_code_is_replaced_when_a_job_comes(queue: Queue, worker: Worker, monkeypatch):
    old = warm_server()
    monkeypatch.setattr(isolation, "_newest_code", lambda: (1, 1))
    assert run(queue, "quick").state == "done"
    assert warm_server() != old
    assert not lives(old)


def test_a_server_is_kept_while_memory_is_plenty_and_ended_when_it_is_short(queue: Queue, monkeypatch):
    isolation.stop()
    idle, available, started = Worker(queue, run_job, preload=PRELOAD), [3.9 * GIB], []
    monkeypatch.setattr(module, "available_bytes", lambda: available[0])

    def warm() -> bool:
        idle._keep_warm()
        is_warm = isolation.is_warm(PRELOAD)
        if is_warm:
            until(servers)  # a new process has its own command line only after a moment
        started.extend(servers())
        return is_warm

    assert not warm()
    available[0] = 4 * GIB
    assert warm()
    available[0] = 3.5 * GIB  # less than before, by what the server takes itself
    assert warm()
    available[0] = 2.9 * GIB
    assert not warm()
    available[0] = 8 * GIB
    assert not warm()  # whatever took the memory may still be there
    monkeypatch.setattr(module, "PAUSE_S", -1.0)
    assert warm()
    os.kill(servers()[0], signal.SIGKILL)
    until(lambda: not isolation.is_warm())
    assert warm()
    assert len(set(started)) == 3
    isolation.stop()


def test_the_server_ends_with_its_killed_worker(queue: Queue, monkeypatch):
    with processes() as start:
        worker: subprocess.Popen = start()
        job_id = queue.submit(RunSpec(model="quick"))  # which starts a server
        assert ended(queue, job_id).state == "done"
        family = psutil.Process(worker.pid).children(recursive=True)
        assert family
    until(lambda: not any(lives(process.pid) for process in family))
