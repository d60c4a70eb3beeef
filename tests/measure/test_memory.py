"""Peak memory of a process of its own on a CPU."""

import importlib

import pytest

from dit_core.errors import Cancelled
from dit_core.measure.memory import CPU_PEAK, peak_memory, peak_memory_alongside
from tests.fake_workload import Allocating, Failing

pytestmark = pytest.mark.slow

module = importlib.import_module("dit_core.measure.memory")


@pytest.fixture
def measure_peak(monkeypatch):
    """Measure in a process of 100 bytes whose loading peaks at 900, keeps 400, and whose generating peaks at 650."""
    level = {"VmRSS": 100, "VmHWM": 100}

    class Workload:
        def load_candidate(self):
            level.update(VmRSS=400, VmHWM=900)
            return lambda: level.update(VmHWM=max(650, level["VmHWM"]))

    def run(can_reset=True):
        def reset():
            if can_reset:
                level["VmHWM"] = level["VmRSS"]
            return can_reset

        monkeypatch.setattr(module, "_status", level.__getitem__)
        monkeypatch.setattr(module, "_reset_peak", reset)
        return module._cpu_peak(Workload())

    return run


def test_the_peak_is_that_of_generating_above_the_level_before_the_model_was_loaded(measure_peak):
    figures = measure_peak()
    assert (figures["peak_memory_bytes"], figures["load_peak_memory_bytes"]) == (650 - 100, 900 - 100)
    assert figures["peak_kind"] == CPU_PEAK


def test_if_the_peak_cannot_be_reset_it_includes_loading_and_says_so(measure_peak):
    figures = measure_peak(can_reset=False)
    assert figures["peak_memory_bytes"] == 900 - 100
    assert "while it loads and generates" in figures["peak_kind"]


def test_a_new_process_finds_what_a_workload_takes_and_nothing_of_this_process():
    ballast = b"x" * (300 << 20)
    figures = peak_memory(Allocating(loaded=100 << 20, peak=200 << 20))
    assert figures["peak_memory_bytes"] == pytest.approx(300 << 20, rel=0.05)
    assert figures["load_peak_memory_bytes"] == pytest.approx(100 << 20, rel=0.1)
    assert len(ballast)


def test_a_kernel_that_refuses_to_reset_the_peak_is_no_failure(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "Path", lambda name: tmp_path)  # a folder cannot be written to
    assert module._reset_peak() is False


def test_the_kernel_s_own_figures_are_read_in_bytes():
    resident, peak = module._status("VmRSS"), module._status("VmHWM")
    assert 10 * 2**20 < resident <= peak
    with pytest.raises(RuntimeError, match="VmNothing"):
        module._status("VmNothing")


@pytest.mark.parametrize("how", ["exit", "kill", "raise", "hang"])
def test_a_process_that_fails_leaves_null_and_a_reason(how):
    figures = peak_memory(Failing(how), limit_s=1.5 if how == "hang" else 60)
    assert figures["peak_memory_bytes"] is None
    assert "process that measures memory failed" in figures["reason"]


def test_the_peak_is_the_same_while_this_process_computes():
    workload = Allocating(loaded=100 << 20, peak=200 << 20)
    alone = peak_memory(workload)
    with peak_memory_alongside(workload) as peak:
        alongside = peak(lambda: sum(range(1_000_000)))
    assert alongside["peak_memory_bytes"] == pytest.approx(alone["peak_memory_bytes"], rel=0.01)


def test_a_run_that_fails_or_is_cancelled_ends_the_measurement_beside_it():
    with pytest.raises(KeyError), peak_memory_alongside(Failing("hang")):
        raise KeyError

    def cancel():
        raise Cancelled

    with pytest.raises(Cancelled), peak_memory_alongside(Failing("hang")) as peak:
        peak(cancel)
