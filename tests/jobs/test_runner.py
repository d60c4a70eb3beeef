"""The ending that a job runner returns, with fake experiments in this process."""

import pytest

from dit_core.jobs.queue import Queue
from dit_core.jobs.runner import run_job
from dit_core.records.spec import RunSpec
from tests import fake_job


@pytest.fixture
def queue(tmp_path, monkeypatch) -> Queue:
    monkeypatch.setenv("DIT_RESULTS", str(tmp_path))
    monkeypatch.delenv("DIT_QUEUE", raising=False)
    return Queue()


def test_a_job_that_succeeds_returns_the_id_of_its_record(queue):
    job_id = queue.submit(RunSpec(model="quick"))
    ending, run_id = fake_job.run_job(job_id)
    assert (ending.state, ending.reason, run_id) == ("done", "", RunSpec(model="quick").run_id)


def test_a_job_that_fails_returns_its_reason_and_prints_the_traceback(queue, capsys):
    ending, run_id = fake_job.run_job(queue.submit(RunSpec(model="broken")))
    assert (ending.state, ending.reason, run_id) == ("failed", "KeyError: 'nothing'", None)
    assert "Traceback" in capsys.readouterr().err


def test_a_job_stops_at_its_next_step_once_it_is_cancelled(queue):
    job_id = queue.submit(RunSpec(model="polite"))
    queue.claim()
    queue.cancel(job_id)
    assert fake_job.run_job(job_id).ending.state == "cancelled"


def test_a_job_that_is_not_in_the_queue_is_an_error(queue):
    with pytest.raises(ValueError, match="no job 7"):
        run_job(7)


def test_a_first_estimate_is_shown_at_once_and_kept_by_the_stages_after_it(queue):
    def run(spec, *, listener, **rest):
        listener.progress("candidate", 12, 12)
        listener.estimate(1.5, "from drawing these images")
        seen.append(queue.get(job_id).stage)
        listener.progress("speed", 0, 30)
        seen.append(queue.get(job_id).stage)
        return fake_job.quick(spec, **rest, listener=listener)

    seen: list[str] = []
    job_id = queue.submit(RunSpec())
    queue.claim()
    assert run_job(job_id, run).ending.state == "done"
    estimate = "(first estimate: ×1.50, from drawing these images)"
    assert seen == [f"candidate {estimate}", f"speed {estimate}"]
