"""A function in a process of its own: its result or failure, the process itself, and that nothing of it is left."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from dit_core.errors import Cancelled
from dit_core.system import isolation, processes
from tests import fake_isolated
from tests.workers import REPOSITORY, lives, until

pytestmark = pytest.mark.slow

METHODS = ("forkserver", "spawn")


@pytest.fixture(autouse=True)
def _own_server():
    """Each test has a fork server of its own."""
    isolation.stop()
    isolation._server.modules = ()
    yield
    isolation.stop()
    isolation._server.modules, isolation._server.allowed = (), True


def pids(note: Path) -> list[int]:
    """The processes that `fake_isolated.hang` noted, once they are all there."""
    until(lambda: note.exists() and note.read_text().endswith("."))
    return [int(pid) for pid in note.read_text().split()[:-1]]


def program(code: str, mark: str = "test") -> subprocess.Popen:
    """A program of its own that uses the isolation."""
    lines = f"from pathlib import Path; from dit_core.system import isolation; from tests import fake_isolated; {code}"
    environment = {**os.environ, processes.MARK: mark}
    return subprocess.Popen([sys.executable, "-c", lines], cwd=REPOSITORY, env=environment, start_new_session=True)


@pytest.mark.parametrize("method", METHODS)
def test_the_result_comes_back_whatever_its_size_and_whatever_libraries_print(method, capfd):
    assert isolation.run(fake_isolated.add, 1, 2, method=method) == 3
    assert len(isolation.run(fake_isolated.large, 3_000_000, method=method)) == 3_000_000
    assert isolation.run(fake_isolated.describe, method=method)["pid"] != os.getpid()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("function", "arguments", "failure", "message"),
    [
        ("fail", (), isolation.Failed, "ValueError: wrong"),
        ("exit_with", ("no memory is left",), isolation.Failed, "no memory is left"),
        ("exit_with", (3,), isolation.Failed, "exit code 3"),
        ("leave", ("the driver is missing",), isolation.Failed, "the driver is missing"),
        ("leave", ("",), isolation.Failed, "exit code 3"),
        ("unpicklable", (), isolation.Failed, "pickle"),
        ("kill_itself", (), isolation.Killed, "Killed"),
        ("crash", (), isolation.Killed, "Segmentation fault"),
    ],
)
def test_a_failure_has_its_kind_and_its_reason_and_the_next_call_works(method, function, arguments, failure, message):
    with pytest.raises(isolation.Failed, match=message) as error:
        isolation.run(getattr(fake_isolated, function), *arguments, method=method)
    assert type(error.value) is failure
    assert "\n" not in str(error.value)
    assert isolation.run(fake_isolated.add, 1, 2, method=method) == 3


@pytest.mark.parametrize("method", METHODS)
def test_a_function_that_hangs_is_ended_at_its_limit_with_all_that_it_started(tmp_path, method):
    with pytest.raises(isolation.TimedOut, match=r"limit of 3 s"):
        isolation.run(fake_isolated.hang, tmp_path / "note", limit_s=3, method=method)
    assert not any(lives(pid) for pid in pids(tmp_path / "note"))


def test_what_watch_raises_ends_the_process_and_all_that_it_started(tmp_path):
    def cancel():
        if (tmp_path / "note").exists():
            pids(tmp_path / "note")
            raise Cancelled

    with pytest.raises(Cancelled):
        isolation.run(fake_isolated.hang_nested, tmp_path / "note", watch=cancel, poll_s=0.01)
    assert not any(lives(pid) for pid in pids(tmp_path / "note"))


def test_what_a_process_left_behind_is_ended_even_if_it_was_killed_itself(tmp_path):
    result = []
    thread = threading.Thread(target=lambda: result.append(_failure(tmp_path / "note")))
    thread.start()
    family = pids(tmp_path / "note")
    os.kill(family[0], signal.SIGKILL)
    thread.join()
    assert isinstance(result[0], isolation.Killed)
    assert not any(lives(pid) for pid in family)  # the last has the server's environment, its own session, no parent


def _failure(note: Path) -> isolation.Failed:
    with pytest.raises(isolation.Failed) as error:
        isolation.run(fake_isolated.hang, note)
    return error.value


@pytest.mark.parametrize("method", METHODS)
def test_the_process_ends_with_a_killed_parent_even_inside_a_library_call(tmp_path, method):
    note = tmp_path / "note"
    parent = program(f"isolation.run(fake_isolated.hang, Path({str(note)!r}), method={method!r})", str(tmp_path))
    leader, *started = pids(note)
    family = [process.pid for process in psutil.Process(parent.pid).children(recursive=True)]
    parent.kill()
    parent.wait()
    until(lambda: not lives(leader))
    processes.end_family(str(tmp_path))  # as the next worker does
    until(lambda: not any(lives(pid) for pid in (*family, *started)))


def test_nested_processes_end_with_a_killed_process_between(tmp_path):
    note = tmp_path / "note"
    parent = program(f"isolation.run(fake_isolated.hang_nested, Path({str(note)!r}))")
    family = pids(note)
    try:
        os.kill(int(note.with_suffix(".middle").read_text()), signal.SIGKILL)
        parent.wait(60)
        assert not any(lives(pid) for pid in family)
    finally:
        parent.kill()


def test_a_nested_call_uses_the_same_server_and_is_withdrawn_alone(tmp_path):
    process = isolation.run(fake_isolated.describe)
    assert isolation.run(fake_isolated.describe_nested)["server"] == process["server"]
    assert isolation.run(fake_isolated.withdraw_nested, tmp_path / "note") == 3
    assert not any(lives(pid) for pid in pids(tmp_path / "note"))


@pytest.mark.parametrize("method", METHODS)
def test_the_failure_of_a_nested_call_keeps_its_kind(method):
    assert isolation.run(fake_isolated.fail_nested, "fail", method) == ("Failed", "ValueError: wrong")
    kind, message = isolation.run(fake_isolated.fail_nested, "kill_itself", method)
    assert kind == "Killed"
    assert "Killed" in message


def test_an_interrupt_of_the_terminal_reaches_the_parent_only_and_leaves_no_process(tmp_path):
    note = tmp_path / "note"
    parent = program(f"isolation.run(fake_isolated.wait_for, Path({str(note)!r}))")
    (leader,) = pids(note)
    family = psutil.Process(parent.pid).children(recursive=True)
    os.killpg(parent.pid, signal.SIGINT)  # Ctrl-C
    assert parent.wait(60) != 0
    until(lambda: not any(lives(process.pid) for process in family) and not lives(leader))


def test_each_process_is_new_and_leads_a_session_and_is_the_first_to_go_when_memory_runs_out():
    first, second = (isolation.run(fake_isolated.describe) for _ in range(2))
    assert first["pid"] != second["pid"]
    assert first["server"] == second["server"] != os.getpid()
    for process in (first, second):
        assert process["session"] == process["pid"]
        assert process["threads"] == 2  # the main thread, and the one that waits for the end of the parent
        assert process["oom_score_adj"] == 1000
        assert process["interrupt"]


def test_a_process_inherits_no_computation_of_its_parent_and_the_server_has_no_pool():
    import torch

    isolation.warm("dit_core.experiment.run")
    _ = torch.ones(500, 500) @ torch.ones(500, 500)
    process = isolation.run(fake_isolated.describe)
    assert {"torch", "diffusers"} <= process["modules"]
    assert process["threads"] == 2
    addresses = [address for _ in range(3) for address in isolation.run(fake_isolated.addresses)]
    assert len(set(addresses)) == len(addresses)


def test_a_process_has_the_variables_of_its_parent_and_the_given_ones(monkeypatch):
    isolation.run(fake_isolated.describe)
    monkeypatch.setenv("SET_LATER", "yes")
    variables = isolation.run(fake_isolated.describe, environment={"GIVEN": "too"})["variables"]
    assert (variables["SET_LATER"], variables["GIVEN"]) == ("yes", "too")
    monkeypatch.setenv(processes.MARK, "queue")
    nested = isolation.run(fake_isolated.describe_nested)["variables"][processes.MARK]
    assert nested.startswith("queue/")
    assert nested.count("/") == 2


def test_output_goes_to_the_log_or_to_standard_error(tmp_path, capfd):
    log = tmp_path / "log.txt"
    isolation.run(fake_isolated.describe, log=log)
    with pytest.raises(isolation.Failed):
        isolation.run(fake_isolated.leave, "bye", log=log)
    assert log.read_text() == "a library prints\nbye\n"
    isolation.run(fake_isolated.describe, show_output=True)
    assert capfd.readouterr() == ("", "a library prints\n")


def test_a_fork_server_that_was_killed_ends_its_process_and_is_replaced():
    with pytest.raises(isolation.Killed):
        isolation.run(fake_isolated.kill_server)
    assert isolation.run(fake_isolated.add, 1, 2) == 3
    os.kill(isolation.run(fake_isolated.describe)["server"], signal.SIGKILL)
    until(lambda: not isolation.is_warm())
    assert isolation.run(fake_isolated.add, 1, 2) == 3


def test_a_fork_server_of_older_code_is_replaced(monkeypatch):
    isolation.warm("tests.fake_isolated")
    old = isolation.run(fake_isolated.describe)["server"]
    assert isolation.run(fake_isolated.describe)["server"] == old
    monkeypatch.setattr(isolation, "_newest_code", lambda: (1, 1))
    assert isolation.run(fake_isolated.describe)["server"] != old
    assert isolation.is_warm("tests.fake_isolated")
    assert not lives(old)


def test_changed_code_is_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr(isolation, "_CODE", tmp_path)
    (tmp_path / "module.py").write_text("")
    before = isolation._newest_code()
    assert isolation._newest_code() == before
    os.utime(tmp_path / "module.py", ns=(before[1] + 1, before[1] + 1))
    assert isolation._newest_code() != before


def test_warming_returns_at_once_and_a_limit_holds_while_the_server_still_imports(tmp_path, monkeypatch):
    (tmp_path / "slow_import.py").write_text("import time; time.sleep(600)")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(REPOSITORY)]))
    began = time.monotonic()
    isolation.warm("slow_import")
    assert isolation.is_warm("slow_import")
    with pytest.raises(isolation.TimedOut):
        isolation.run(fake_isolated.add, 1, 2, limit_s=0.5)
    assert time.monotonic() - began < 30
    assert not isolation.is_warm()


def test_without_a_usable_fork_server_a_new_interpreter_is_started(monkeypatch):
    monkeypatch.setattr(isolation._server, "allowed", False)  # as on macOS and Windows
    process = isolation.run(fake_isolated.describe)
    assert process["server"] == os.getpid()
    isolation.warm("tests.fake_isolated")
    assert not isolation.is_warm()


def test_where_an_import_has_initialized_cuda_a_new_interpreter_is_started(tmp_path, monkeypatch):
    """A stand-in for torch in the fork server, as it is after it asked a driver with one GPU."""
    (tmp_path / "bad_fork.py").write_text(
        "import sys, types\n"
        "cuda = types.SimpleNamespace(_is_in_bad_fork=lambda: True, device_count=lambda: 1)\n"
        "sys.modules['torch'] = types.SimpleNamespace(cuda=cuda)\n"
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(REPOSITORY)]))
    isolation.warm("bad_fork")
    assert isolation.run(fake_isolated.describe)["server"] == os.getpid()
    assert not isolation.is_warm()
    assert isolation.run(fake_isolated.describe)["server"] == os.getpid()


def test_the_imports_of_a_run_leave_a_server_that_can_be_forked():
    """With a GPU an import may have asked its driver for devices; then new interpreters are started instead."""
    import torch

    isolation.warm("dit_core.experiment.run")
    process = isolation.run(fake_isolated.describe)
    assert process["server"] != os.getpid() or torch.cuda.is_available()
