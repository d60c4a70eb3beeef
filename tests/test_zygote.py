"""A zygote's processes are fresh, end with it, and are told apart by how they end; each test is a run of its own."""

import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PATIENCE_S = 120.0


def run(code: str, **environment: str) -> list:
    """What a program of its own prints, line by line."""
    prelude = "import json, os, sys, time; from pathlib import Path; from dit_core import fresh, zygote\n"
    ended = subprocess.run(
        [sys.executable, "-c", prelude + code],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "2", **environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert ended.returncode == 0, ended.stderr
    return [json.loads(line) for line in ended.stdout.splitlines()]


def gone(pid: int) -> None:
    """Wait until the process has ended."""
    until = time.monotonic() + PATIENCE_S
    with suppress(OSError):
        while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
            assert time.monotonic() < until
            time.sleep(0.05)


def test_each_answer_comes_from_a_new_process_of_one_thread_that_holds_nothing_of_the_run():
    own, *forks = run(
        """
import torch
assert zygote.keep()
zygote.extra = torch.ones(1000, 1000) @ torch.ones(1000, 1000)  # a pool of threads and memory, of the run alone
print(json.dumps([os.getpid(), len(os.listdir("/proc/self/task"))]))
for _ in range(2):
    print(json.dumps(fresh.ask("tests.fake_measure", "look", 60)))
"""
    )
    pids = {own[0], *(one["pid"] for one in forks)}
    assert len(pids) == 3
    assert own[1] > 1
    for one in forks:
        assert (one["threads"], one["extra"], one["forked"]) == (1, False, True)
        assert one["files"] == []
    assert forks[0]["heap"] != forks[1]["heap"]


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        ("kill", "it ended with -9 and left no word"),
        ("exit", "no memory is left"),
        ("raise", "ValueError: wrong"),
        ("mumble", "it did not tell what it found"),
        ("hang", "it took too long"),
    ],
)
def test_a_fork_that_fails_is_told_as_an_interpreter_s_and_the_next_one_answers(request_, reason):
    told = run(
        f"""
for kept in (True, False):
    kept and zygote.keep()
    if not kept and zygote._kept: zygote._kept.end()
    try:
        fresh.ask("tests.fake_measure", {request_!r}, 2.0 if {request_!r} == "hang" else 60)
    except fresh.Failed as error:
        print(json.dumps(str(error)))
    print(json.dumps(fresh.ask("tests.fake_measure", "look", 60)["threads"]))
"""
    )
    assert told == [reason, 1, reason, 1]


def test_cancelling_kills_the_fork(tmp_path):
    note = tmp_path / "note"
    run(
        """
zygote.keep()
note = Path(os.environ["NOTE"])
def watch():
    if note.exists() and note.read_text(): raise KeyboardInterrupt
try:
    fresh.ask("tests.fake_measure", "note", 60, watch)
except KeyboardInterrupt:
    from tests.test_zygote import gone
    gone(int(note.read_text()))  # while this run lives on
""",
        NOTE=str(note),
    )


def test_zygote_and_fork_die_with_a_killed_run(tmp_path):
    code = "from dit_core import fresh, zygote; zygote.keep(); fresh.ask('tests.fake_measure', 'note', 600)"
    note = tmp_path / "note"
    run = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env={**os.environ, "NOTE": str(note)})
    until = time.monotonic() + PATIENCE_S
    while not note.exists() or not note.read_text():
        assert time.monotonic() < until
        time.sleep(0.05)
    fork = int(note.read_text())
    zygote = int(Path(f"/proc/{fork}/stat").read_text().rpartition(")")[2].split()[1])
    assert zygote != run.pid
    run.kill()
    run.wait()
    gone(fork)
    gone(zygote)


@pytest.mark.parametrize(
    "made",
    [
        "import threading; threading.Thread(target=time.sleep, args=(600,), daemon=True).start()",
        "import torch; torch.ones(1000, 1000) @ torch.ones(1000, 1000)",
        "import torch; torch.cuda.is_initialized = lambda: True",
        "sys.platform = 'darwin'",
    ],
    ids=["a thread", "a pool", "CUDA", "another platform"],
)
def test_where_a_fork_would_not_be_whole_an_interpreter_answers(made):
    assert run(
        f"""
{made}
print(json.dumps(zygote.keep()))
print(json.dumps(fresh.ask("tests.fake_measure", "look", 60)["forked"]))
os._exit(0) if not sys.stdout.flush() else None
"""
    ) == [False, False]


def test_idle_threads_of_openblas_do_not_keep_a_zygote_from_being_kept():
    assert run(
        """
import scipy.linalg
print(json.dumps(len(os.listdir("/proc/self/task")) > 1))
print(json.dumps(zygote.keep()))
""",
        OPENBLAS_NUM_THREADS="2",
    ) == [True, True]


def test_the_imports_of_a_run_leave_a_process_that_can_keep_a_zygote():
    """With a GPU an import may have asked its driver for devices; then there is none."""
    (kept, cuda) = run(
        """
import torch
from dit_core import child
child.experiment()
print(json.dumps(zygote._kept is not None))
print(json.dumps(torch.cuda.is_available()))
"""
    )
    assert kept or cuda
