"""A run in a process group of its own: how it ends, and that nothing of it stays."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dit_core.search.apart import measure
from dit_core.spec import RunSpec
from dit_core.store import Store
from tests.fake_run import COMMAND

HANGING = """
import os, subprocess, sys, time
runaway = subprocess.Popen(["sleep", "600"], start_new_session=True)
open(sys.argv[1], "w").write(f"{os.getpid()} {runaway.pid}")
time.sleep(600)
"""  # needs no import, so that it hangs soon on a busy machine, too


def alive(pid: int) -> bool:
    """Whether the process lives; one that ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_run_leaves_its_record_in_the_folder_that_was_named(tmp_path):
    ended = measure(RunSpec(), tmp_path, command=COMMAND)
    assert (ended.state, ended.reason) == ("done", "")
    stored = Store(tmp_path).get(RunSpec().run_id)
    assert stored
    assert stored.origin == "bundled"


def test_without_a_folder_the_record_is_one_of_this_machine(tmp_path, monkeypatch):
    monkeypatch.setenv("DIT_RESULTS", str(tmp_path))
    assert measure(RunSpec(), command=COMMAND).done
    stored = Store().get(RunSpec().run_id)
    assert stored
    assert stored.origin == "local"


def test_a_run_keeps_every_digit_of_its_knobs(tmp_path):
    spec = RunSpec(guidance=1 / 3)
    assert measure(spec, tmp_path, command=COMMAND).done
    assert Store(tmp_path).get(spec.run_id)


@pytest.mark.parametrize(
    ("model", "state", "reason"),
    [
        ("refused", "failed", "keep must be at most 8, got 9."),
        ("broken", "failed", "KeyError: 'nothing'"),
        ("greedy", "out-of-memory", "Memory ran out: MemoryError"),
        ("killed", "out-of-memory", "The system ended it, most likely because memory ran out."),
        ("leaving", "failed", "Its process ended too early: exit code 3."),
    ],
)
def test_a_run_that_ends_badly_tells_its_state_and_its_reason(tmp_path, model, state, reason):
    ended = measure(RunSpec(model=model), tmp_path, command=COMMAND)
    assert (ended.state, ended.reason) == (state, reason)


def test_a_run_that_hangs_is_ended_at_its_limit_with_all_that_it_started(tmp_path):
    ended = measure(RunSpec(), tmp_path, command=(sys.executable, "-c", HANGING, str(tmp_path / "pids")), limit_s=4)
    assert (ended.state, ended.reason) == ("timed-out", "It ran longer than its limit of 4 s.")
    assert not any(alive(int(pid)) for pid in (tmp_path / "pids").read_text().split())


def test_a_run_dies_with_the_sweep_that_started_it(tmp_path):
    code = (
        "from pathlib import Path; from dit_core.search.apart import measure; from dit_core.spec import RunSpec; "
        "from tests.fake_run import COMMAND; "
        f"measure(RunSpec(model='hanging'), Path({str(tmp_path)!r}), command=COMMAND)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    until = time.monotonic() + 60
    while not (tmp_path / "pids").exists() or not (tmp_path / "pids").read_text():
        assert time.monotonic() < until
        time.sleep(0.05)
    child, runaway = map(int, (tmp_path / "pids").read_text().split())
    parent.kill()
    parent.wait()
    while alive(child):
        assert time.monotonic() < until
        time.sleep(0.05)
    os.kill(runaway, signal.SIGKILL)  # it left the group; nobody is left to look for it
