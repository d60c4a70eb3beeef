"""Each fault of a worker or its job, with real processes; the experiments are those of `tests/fake_job.py`."""

import threading
import time
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from dit_core.jobs.queue import Job, Queue, QueueError
from dit_core.jobs.worker import Worker, serving, worker_state
from dit_core.records.spec import RunSpec
from dit_core.records.store import Store
from tests.factory import make_sheets
from tests.fake_job import run_job
from tests.workers import PATIENCE_S, lives, until

pytestmark = pytest.mark.slow


def test_a_worker_of_dashboards_runs_what_waits_and_ends_after_the_last_of_them(queue: Queue):
    worker = Worker(queue, run_job, preload="tests.fake_job", poll_s=0.02, while_served=True, unserved_s=0.1)
    thread = threading.Thread(target=worker.run)
    with serving(queue), serving(queue):
        thread.start()
        time.sleep(0.5)
        assert thread.is_alive()
        jobs = [submit(queue, "quick"), submit(queue, "quick", again=True)]
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
    assert [job(queue, job_id).state for job_id in jobs] == ["done", "done"]
    assert not worker_state(queue).alive


def job(queue: Queue, job_id: int) -> Job:
    found = queue.get(job_id)
    assert found is not None
    return found


def ended(queue: Queue, job_id: int) -> Job:
    until(lambda: not job(queue, job_id).active)
    return job(queue, job_id)


def submit(queue: Queue, experiment: str, **options: float) -> int:
    return queue.submit(RunSpec(model=experiment), **options)  # type: ignore[arg-type]


def runaway(queue: Queue, job_id: int) -> int:
    """The process that the experiment `deaf` moved to a session of its own."""
    log = queue.folder(job_id) / "log.txt"
    until(lambda: log.exists() and log.read_text().endswith("\n"))
    return int(log.read_text().split()[1])


def test_a_job_becomes_a_record_with_its_progress_and_previews(queue: Queue, work: Callable[..., Worker]):
    job_id = submit(queue, "quick")
    work()
    found = ended(queue, job_id)
    assert (found.state, found.run_id, found.reason) == ("done", RunSpec(model="quick").run_id, "")
    assert (found.stage, found.step, found.of) == ("candidate", 20, 20)
    assert Store().get(found.spec.run_id) is not None
    assert {p.name: p.read_bytes() for p in queue.folder(job_id).glob("*.png")} == {
        f"{which}.png": sheet for which, sheet in make_sheets().items()
    }


@pytest.mark.parametrize(
    ("experiment", "state", "reason"),
    [
        ("bad_request", "failed", "bits must be between 2 and 8, got 9."),
        ("broken", "failed", "KeyError: 'nothing'"),
        ("greedy", "out-of-memory", "Memory ran out: MemoryError"),
        ("device_full", "out-of-memory", "Memory ran out: CUDA out of memory. Tried to allocate 64.00 GiB."),
        ("killed", "out-of-memory", "The system ended it"),
        ("crashing", "failed", "Segmentation fault"),
        ("leaving", "failed", "the driver is missing"),
        ("no_such_experiment", "failed", "KeyError"),
    ],
)
def test_a_job_that_ends_badly_keeps_its_reason_and_the_next_is_unaffected(
    queue: Queue, work: Callable[..., Worker], experiment: str, state: str, reason: str
):
    bad, good = submit(queue, experiment), submit(queue, "quick")
    work()
    found = ended(queue, bad)
    assert found.state == state
    assert reason in found.reason
    assert "\n" not in found.reason
    assert ended(queue, good).state == "done"


def test_a_running_job_is_cancelled_at_its_next_step(queue: Queue, work: Callable[..., Worker]):
    job_id = submit(queue, "polite")
    work()
    until(lambda: job(queue, job_id).step)
    queue.cancel(job_id)
    assert ended(queue, job_id).reason == "Cancelled while it ran."
    assert job(queue, job_id).state == "cancelled"


def test_a_job_that_does_not_hear_its_cancellation_is_ended_with_all_it_started(
    queue: Queue, work: Callable[..., Worker]
):
    deaf, after = submit(queue, "deaf"), submit(queue, "quick")
    work(grace_s=0.3)
    pid = runaway(queue, deaf)
    queue.cancel(deaf)
    assert ended(queue, deaf).state == "cancelled"
    assert not lives(pid)
    assert ended(queue, after).state == "done"


def test_a_hanging_job_is_ended_at_its_time_limit_with_all_it_started(
    queue: Queue, work: Callable[..., Worker], monkeypatch: pytest.MonkeyPatch
):
    passed_s = [0.0]
    clock = SimpleNamespace(sleep=time.sleep, monotonic=lambda: time.monotonic() + passed_s[0])
    monkeypatch.setattr("dit_core.system.isolation.time", clock)
    hanging, after = submit(queue, "deaf", time_limit_s=600.0), submit(queue, "quick")
    work()
    pid = runaway(queue, hanging)
    assert job(queue, hanging).state == "running"
    passed_s[0] = 601.0
    found = ended(queue, hanging)
    assert (found.state, found.reason) == ("timed-out", "It ran longer than its limit of 600 s.")
    assert not lives(pid)
    assert ended(queue, after).state == "done"


def test_a_process_that_lingers_after_its_job_is_done_does_not_hold_the_device(
    queue: Queue, work: Callable[..., Worker]
):
    lingering, after = submit(queue, "lingering"), submit(queue, "quick")
    work(grace_s=0.3)
    assert ended(queue, after).state == "done"
    assert job(queue, lingering).state == "done"


def test_a_late_cancel_of_one_job_does_not_stop_the_next(queue: Queue, work: Callable[..., Worker]):
    first, second = submit(queue, "polite"), submit(queue, "polite")
    work()
    until(lambda: job(queue, first).step)
    queue.cancel(first)
    until(lambda: job(queue, second).step)
    queue.cancel(first)
    time.sleep(0.5)
    assert (job(queue, second).state, job(queue, second).cancelling) == ("running", False)
    queue.cancel(second)
    ended(queue, second)


def test_a_job_killed_before_its_record_has_a_name_leaves_none_and_can_be_run_again(
    queue: Queue, work: Callable[..., Worker]
):
    old, unlinked = submit(queue, "quick"), submit(queue, "unlinked")
    work()
    assert ended(queue, unlinked).state == "out-of-memory"  # killed by a signal that only the system sends
    loaded = Store().load()
    assert [item.record.run_id for item in loaded.records] == [job(queue, old).run_id]
    assert loaded.skipped == []


def test_an_ending_that_a_full_disk_refused_is_written_as_soon_as_there_is_room(
    queue: Queue, work: Callable[..., Worker], monkeypatch: pytest.MonkeyPatch
):
    finish, refusals = queue.finish, iter(range(3))

    def refuse(*arguments: object, **keywords: object) -> None:
        if next(refusals, None) is not None:
            raise QueueError("database or disk is full")
        finish(*arguments, **keywords)  # type: ignore[arg-type]

    monkeypatch.setattr("dit_core.jobs.worker._RETRY_S", 0.02)
    monkeypatch.setattr(queue, "finish", refuse)
    job_id = submit(queue, "killed")
    work()
    assert ended(queue, job_id).state == "out-of-memory"
    assert next(refusals, None) is None


def test_a_job_whose_process_cannot_be_started_fails_with_the_reason(queue: Queue, work: Callable[..., Worker]):
    job_id = submit(queue, "quick")
    (queue.root / "jobs").write_text("in the way")
    work()
    found = ended(queue, job_id)
    assert found.state == "failed"
    assert "could not be started" in found.reason
