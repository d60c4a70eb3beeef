"""A run of a sweep in a process of its own: how it ends, and that no process of it is left."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dit_core.records.spec import RunSpec
from dit_core.records.store import Store
from dit_core.sweeps.isolated_run import measure
from tests import fake_run
from tests.workers import REPOSITORY, lives, until

pytestmark = pytest.mark.slow


def pids(folder: Path) -> list[int]:
    """The run's process and its descendant in another session, once the run `hanging` has noted them."""
    note = folder / "pids"
    until(lambda: note.exists() and " " in note.read_text())
    return [int(pid) for pid in note.read_text().split()]


def test_a_run_leaves_its_record_in_the_given_folder(tmp_path):
    ended = measure(RunSpec(), tmp_path, function=fake_run.run)
    assert (ended.state, ended.reason) == ("done", "")
    stored = Store(tmp_path).get(RunSpec().run_id)
    assert stored
    assert stored.origin == "bundled"


def test_without_a_folder_the_record_is_one_of_this_machine(tmp_path, monkeypatch):
    monkeypatch.setenv("DIT_RESULTS", str(tmp_path))
    assert measure(RunSpec(), function=fake_run.run).done
    stored = Store().get(RunSpec().run_id)
    assert stored
    assert stored.origin == "local"


def test_a_run_keeps_every_digit_of_its_spec(tmp_path):
    spec = RunSpec(guidance=1 / 3)
    assert measure(spec, tmp_path, function=fake_run.run).done
    assert Store(tmp_path).get(spec.run_id)


@pytest.mark.parametrize(
    ("model", "state", "reason"),
    [
        ("refused", "failed", "keep must be at most 8, got 9."),
        ("broken", "failed", "KeyError: 'nothing'"),
        ("greedy", "out-of-memory", "Memory ran out: MemoryError"),
        ("killed", "out-of-memory", "The system ended it, most likely because memory ran out."),
        ("leaving", "failed", "Its process ended too early: exit code 3"),
    ],
)
def test_a_run_that_ends_badly_has_a_state_and_a_reason(tmp_path, model, state, reason):
    ended = measure(RunSpec(model=model), tmp_path, function=fake_run.run)
    assert (ended.state, ended.reason) == (state, reason)


def test_a_run_that_hangs_is_ended_at_its_limit_with_all_that_it_started(tmp_path):
    ended = measure(RunSpec(model="hanging"), tmp_path, function=fake_run.run, limit_s=4)
    assert (ended.state, ended.reason) == ("timed-out", "It ran longer than its limit of 4 s.")
    assert not any(lives(pid) for pid in pids(tmp_path))


def test_a_run_ends_with_the_sweep_that_started_it(tmp_path):
    code = (
        "from pathlib import Path; from dit_core.sweeps.isolated_run import measure; "
        "from dit_core.records.spec import RunSpec; from tests import fake_run; "
        f"measure(RunSpec(model='hanging'), Path({str(tmp_path)!r}), function=fake_run.run)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=REPOSITORY, start_new_session=True)
    run, runaway = pids(tmp_path)
    parent.kill()
    parent.wait()
    until(lambda: not lives(run))
    os.kill(runaway, signal.SIGKILL)  # it left the session, and nobody is left to look for it
