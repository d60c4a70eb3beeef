"""A sweep and the worker: known runs are skipped, failures are survived, a restart goes on; with real processes."""

import subprocess
from collections.abc import Callable

import pytest

from dit_core.jobs.queue import Queue
from dit_core.jobs.worker import stop_worker, worker_state
from dit_core.records.spec import RunSpec
from dit_core.records.store import Store
from dit_core.system.environment import environment
from tests.factory import make_record, make_sheets
from tests.workers import until

pytestmark = pytest.mark.slow


def states(queue: Queue, sweep: int) -> list[str]:
    found = queue.sweep(sweep)
    assert found is not None
    return [job.state for job in found.jobs]


def quick(seed: int) -> RunSpec:
    return RunSpec(model="quick", seed=seed)


def put(spec: RunSpec, **sections: dict) -> None:
    record = make_record(spec, **sections)
    Store().put(record, make_sheets(record), local=False)


def test_what_this_environment_knows_is_skipped_and_what_another_one_knows_is_measured(
    queue: Queue, process: Callable[[], subprocess.Popen]
):
    put(quick(1), environment=environment("cpu"))
    put(quick(2), environment={"fingerprint": "elsewhere"})
    process()
    sweep = queue.submit_sweep([quick(1), quick(2)])
    until(lambda: states(queue, sweep) == ["done", "done"])
    found = queue.sweep(sweep)
    assert found is not None
    assert [job.skipped for job in found.jobs] == [True, False]
    assert [one.record.spec["seed"] for one in Store().load().records if one.origin == "local"] == [2]


def test_a_run_is_measured_once_for_two_sweeps(queue: Queue, process: Callable[[], subprocess.Popen]):
    sweeps = [queue.submit_sweep([quick(1), quick(2)]) for _ in range(2)]
    process()
    until(lambda: [states(queue, sweep) for sweep in sweeps] == [["done", "done"]] * 2)
    made = sorted(stored.record.run_id for stored in Store().load().records)
    assert made == sorted(quick(seed).run_id for seed in (1, 2))


def test_a_run_that_fails_leaves_the_others_of_its_sweep(queue: Queue, process: Callable[[], subprocess.Popen]):
    sweep = queue.submit_sweep([quick(1), RunSpec(model="bad_request"), RunSpec(model="killed"), quick(2)])
    process()
    until(lambda: states(queue, sweep) == ["done", "failed", "out-of-memory", "done"])


@pytest.mark.parametrize("how", ["stopped", "killed"])
def test_after_a_restart_of_the_worker_a_sweep_goes_on_with_what_is_left(
    queue: Queue, process: Callable[[], subprocess.Popen], how: str
):
    sweep = queue.submit_sweep([quick(1), RunSpec(model="emoji", steps=1000), quick(2)])
    worker = process()
    until(lambda: (running := queue.running()) and running.id == sweep + 1 and running.step)
    if how == "stopped":
        stop_worker(queue)
    else:
        worker.kill()
    worker.wait()
    assert not worker_state(queue).alive
    queue.submit(quick(3))
    process()
    until(lambda: [job.state for job in queue.list(single=True)] == ["done"])
    until(lambda: states(queue, sweep) == ["done", "running", "queued"])
    queue.cancel_sweep(sweep)
    until(lambda: states(queue, sweep) == ["done", "cancelled", "cancelled"])
