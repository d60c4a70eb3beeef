"""The child that an idle worker keeps, with real processes that need no torch; see `tests/fake_job.py`."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from dit_core import spare
from dit_core.jobs import Job, Queue
from dit_core.spec import RunSpec
from dit_core.worker import Worker
from tests.fake_job import COMMAND
from tests.test_worker import ended, lives, until

REPOSITORY = Path(__file__).resolve().parents[1]
GIB = 1 << 30


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Queue:
    monkeypatch.setenv("DIT_RESULTS", str(tmp_path))
    monkeypatch.delenv("DIT_QUEUE", raising=False)
    monkeypatch.setattr(spare, "available_bytes", lambda: 8 * GIB)
    return Queue()


@pytest.fixture
def worker(queue: Queue) -> Iterator[Worker]:
    """An idle worker, which is stopped at the end of the test."""
    started = Worker(queue, COMMAND, poll_s=0.02, rest_s=0.0)
    thread = threading.Thread(target=started.run)
    thread.start()
    yield started
    started.stop()
    thread.join(60)
    assert not thread.is_alive()
    assert children(started) == []


def children(worker: Worker) -> list[int]:
    """The processes that a worker in a thread of this one has now."""
    entry = f"DIT_JOB_OF={worker.queue.root}".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if entry in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def kept(worker: Worker) -> int:
    """The process of the spare, as soon as there is one."""
    until(lambda: children(worker))
    (pid,) = children(worker)
    return pid


def run(queue: Queue, experiment: str) -> Job:
    return ended(queue, queue.submit(RunSpec(model=experiment)))


def test_a_job_runs_in_the_child_that_waited_and_another_is_kept_after_it(queue: Queue, worker: Worker):
    first = kept(worker)
    job_id = queue.submit(RunSpec(model="polite"))
    until(lambda: (job := queue.get(job_id)) and job.step)
    assert children(worker) == [first]  # and no second one while it runs
    queue.cancel(job_id)
    assert ended(queue, job_id).state == "cancelled"
    until(lambda: children(worker) not in ([], [first]))
    assert run(queue, "quick").state == "done"


def test_what_a_spare_and_its_job_write_is_the_job_s_log_and_tells_how_it_crashed(queue: Queue, worker: Worker):
    kept(worker)
    job = run(queue, "leaving")
    assert (job.state, job.reason) == ("failed", "Its process ended too early: the driver is missing")
    assert (queue.folder(job.id) / "log.txt").read_text() == "the driver is missing\n"
    kept(worker)
    assert run(queue, "killed").state == "out-of-memory"


def test_a_spare_that_died_costs_nothing_but_its_time(queue: Queue, worker: Worker):
    os.kill(kept(worker), signal.SIGKILL)
    assert run(queue, "quick").state == "done"
    kept(worker)


def test_a_spare_of_older_code_is_replaced(queue: Queue, worker: Worker, monkeypatch: pytest.MonkeyPatch):
    old = kept(worker)
    monkeypatch.setattr(spare, "_newest_code", lambda: (1, 1))
    job_id = queue.submit(RunSpec(model="polite"))
    until(lambda: (job := queue.get(job_id)) and job.step)
    assert old not in children(worker)
    queue.cancel(job_id)
    assert ended(queue, job_id).state == "cancelled"
    kept(worker)


def test_changed_code_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(spare, "_CODE", tmp_path)
    (tmp_path / "one.py").write_text("")
    before = spare._newest_code()
    assert spare._newest_code() == before
    os.utime(tmp_path / "one.py", ns=(before[1] + 1, before[1] + 1))
    assert spare._newest_code() != before


def test_a_spare_is_kept_where_memory_abounds_and_ended_where_it_is_short(queue: Queue, monkeypatch, tmp_path):
    started = []

    def start(log) -> subprocess.Popen:
        command = [sys.executable, "-c", "import os; os.read(0, 1)"]
        started.append(subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True))
        return started[-1]

    one, available = spare.Spare(queue, start), [3.9 * GIB]
    queue.root.mkdir(parents=True, exist_ok=True)
    monkeypatch.setattr(spare, "available_bytes", lambda: available[0])
    one.keep()
    assert not started
    available[0] = 4 * GIB
    one.keep()
    available[0] = 3.5 * GIB  # what it takes itself
    one.keep()
    assert [child.poll() for child in started] == [None]
    available[0] = 2.9 * GIB
    one.keep()
    assert started[0].returncode == -signal.SIGKILL
    available[0] = 8 * GIB
    one.keep()
    assert len(started) == 1  # not over and over
    monkeypatch.setattr(spare, "PAUSE_S", -1.0)
    one._not_before = 0.0
    one.keep()
    one.keep()
    assert len(started) == 2
    started[1].kill()
    started[1].wait()
    one.keep()
    one.keep()
    assert len(started) == 3
    one.end()


def test_a_spare_dies_with_its_killed_worker(queue: Queue):
    worker = subprocess.Popen([sys.executable, "-m", "tests.fake_job"], cwd=REPOSITORY, start_new_session=True)
    try:
        until(lambda: Path(f"/proc/{worker.pid}/task/{worker.pid}/children").read_text())
        (pid,) = Path(f"/proc/{worker.pid}/task/{worker.pid}/children").read_text().split()
    finally:
        worker.kill()
        worker.wait()
    until(lambda: not lives(int(pid)))
