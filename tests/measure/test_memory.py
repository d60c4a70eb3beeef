"""Peak memory of a process of its own on a CPU, with a stand-in for what /proc tells."""

import importlib
import io
import json
import sys
from types import SimpleNamespace

import pytest

from dit_core import experiment, fresh
from dit_core.measure.memory import CPU_PEAK, main, peak_memory
from dit_core.spec import RunSpec

module = importlib.import_module("dit_core.measure.memory")


@pytest.fixture
def measured(monkeypatch, capsys):
    """Run `main` in a process of 100 bytes whose load peaks at 900, keeps 400 and whose generating peaks at 650."""
    level = {"VmRSS": 100, "VmHWM": 100}

    def prepare(spec, *, keep_baseline):
        assert not keep_baseline  # the candidate's peak is not the baseline's too
        level.update(VmRSS=400, VmHWM=900)
        return SimpleNamespace(generate_once=lambda: level.update(VmHWM=max(650, level["VmHWM"])))

    def run(can_reset=True):
        def reset():
            if can_reset:
                level["VmHWM"] = level["VmRSS"]
            return can_reset

        monkeypatch.setattr(module, "_status", level.__getitem__)
        monkeypatch.setattr(module, "_reset_peak", reset)
        monkeypatch.setattr(experiment, "prepare", prepare)
        monkeypatch.setattr(sys, "stdin", io.StringIO(RunSpec().to_json()))
        main()
        return json.loads(capsys.readouterr().out)

    return run


def test_the_peak_is_that_of_generating_above_the_level_before_the_model_was_loaded(measured):
    told = measured()
    assert (told["peak_memory_bytes"], told["load_peak_memory_bytes"]) == (650 - 100, 900 - 100)
    assert told["peak_kind"] == CPU_PEAK


def test_where_the_peak_cannot_be_reset_loading_is_part_of_it_and_said(measured):
    told = measured(can_reset=False)
    assert told["peak_memory_bytes"] == 900 - 100
    assert "while it loads and generates" in told["peak_kind"]


def test_a_kernel_that_refuses_to_reset_is_no_failure(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "Path", lambda name: tmp_path)  # a folder cannot be written to
    assert module._reset_peak() is False


def test_the_kernel_s_own_figures_are_read_in_bytes():
    resident, peak = module._status("VmRSS"), module._status("VmHWM")
    assert 10 * 2**20 < resident <= peak
    with pytest.raises(RuntimeError, match="VmNothing"):
        module._status("VmNothing")


KILLED, HANGING = "import os; os.kill(os.getpid(), 9)", "import time; time.sleep(9)"


@pytest.mark.parametrize("code", ["raise SystemExit(3)", "print('no JSON')", KILLED, HANGING])
def test_a_process_that_fails_leaves_null_and_a_reason(monkeypatch, code):
    monkeypatch.setattr(fresh, "command", lambda _: [sys.executable, "-c", code])
    told = peak_memory(RunSpec(), limit_s=1.5 if code == HANGING else 60)
    assert told["peak_memory_bytes"] is None
    assert "process that measures memory failed" in told["reason"]
