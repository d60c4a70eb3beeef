"""What a GPU tells, with a stand-in for the driver: no GPU is needed."""

# ruff: noqa: N802 (the names are those of pynvml)

import importlib
import os
import sys
from types import SimpleNamespace

import pytest
import torch

from dit_core.measure.energy import COOL_DOWN_S, WINDOW_S, energy
from dit_core.measure.memory import _cuda_peak

module = importlib.import_module("dit_core.measure.energy")
UUID = "0f-1e"


class FakeNvml:
    """`pynvml` on a machine whose GPU draws 200 W; `silent` questions are not answered."""

    NVML_CLOCK_SM, NVML_TEMPERATURE_GPU = 1, 0

    class NVMLError(Exception):
        pass

    def __init__(self, now, silent=()):
        self.now, self.silent = now, silent

    def __getattribute__(self, name):
        if name.startswith("nvml") and name in object.__getattribute__(self, "silent"):

            def refuse(*_):
                raise self.NVMLError("Not Supported")

            return refuse
        return object.__getattribute__(self, name)

    def nvmlInit(self):
        pass

    def nvmlDeviceGetHandleByUUID(self, uuid):
        assert uuid == f"GPU-{UUID}"
        return "handle"

    def nvmlDeviceGetTotalEnergyConsumption(self, handle):
        return self.now() * 200 * 1000  # millijoules

    def nvmlDeviceGetUtilizationRates(self, handle):
        return SimpleNamespace(gpu=87, memory=40)

    def nvmlDeviceGetClockInfo(self, handle, kind):
        return 1755

    def nvmlDeviceGetTemperature(self, handle, kind):
        return 61

    def nvmlDeviceGetComputeRunningProcesses(self, handle):
        return [SimpleNamespace(pid=1, usedGpuMemory=5), SimpleNamespace(pid=os.getpid(), usedGpuMemory=900)]


class Machine:
    """Time that passes only when something is done."""

    def __init__(self):
        self.now, self.paused = 10.0, []

    def clock(self):
        return self.now

    def pause(self, seconds):
        self.paused.append(seconds)
        self.now += seconds

    def call(self):
        self.now += 0.7


@pytest.fixture
def machine(monkeypatch):
    machine = Machine()
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid=UUID))
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(machine.clock))
    return machine


def test_energy_is_that_of_one_call_over_a_window_after_a_cool_down(machine):
    told = energy(machine.call, "cuda", machine.clock, machine.pause)
    assert machine.paused == [COOL_DOWN_S]
    assert told["calls"] == 8
    assert told["window_s"] == pytest.approx(8 * 0.7)
    assert told["window_s"] >= WINDOW_S
    assert told["energy_j"] == pytest.approx(0.7 * 200)
    assert told["source"].startswith("NVML")


def test_clocks_temperature_and_utilization_stand_beside_it(machine):
    told = energy(machine.call, "cuda", machine.clock, machine.pause)
    assert (told["utilization"], told["clock_hz"], told["temperature_celsius"]) == (0.87, 1_755_000_000, 61)


@pytest.mark.parametrize("silent", ["nvmlInit", "nvmlDeviceGetHandleByUUID", "nvmlDeviceGetTotalEnergyConsumption"])
def test_a_driver_that_does_not_tell_leaves_energy_null_with_the_reason(machine, monkeypatch, silent):
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(machine.clock, (silent,)))
    told = energy(machine.call, "cuda", machine.clock, machine.pause)
    assert told["energy_j"] is None
    assert "Not Supported" in told["reason"]


def test_a_counter_that_stands_still_is_no_energy(machine, monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(lambda: 3.0))
    told = energy(machine.call, "cuda", machine.clock, machine.pause)
    assert told["energy_j"] is None
    assert "did not advance" in told["reason"]


def test_the_processor_is_read_from_rapl_and_null_with_a_reason_without(machine, monkeypatch, tmp_path):
    monkeypatch.setattr(module, "RAPL", tmp_path / "energy_uj")
    told = energy(machine.call, "cpu", machine.clock, machine.pause)
    assert (told["energy_j"], "RAPL" in told["reason"]) == (None, True)

    def call():
        machine.call()
        module.RAPL.write_text(str(int(machine.now * 30e6)))  # 30 W

    call()
    told = energy(call, "cpu", machine.clock, machine.pause)
    assert told["energy_j"] == pytest.approx((8 * 0.7 + COOL_DOWN_S) * 30 / 8)
    assert "RAPL" in told["source"]


def test_cuda_tells_three_figures_of_memory_and_they_are_not_mixed(machine, monkeypatch):
    done = []
    for name in ("empty_cache", "reset_peak_memory_stats"):
        monkeypatch.setattr(torch.cuda, name, lambda name=name: done.append(name))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 300)
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda: 500)
    prepared = SimpleNamespace(generate_once=lambda: done.append("call"))
    told = _cuda_peak(prepared)
    assert (told["peak_memory_bytes"], told["peak_reserved_bytes"], told["nvml_used_bytes"]) == (300, 500, 900)
    assert done == ["call", "empty_cache", "reset_peak_memory_stats", "call"]
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(machine.clock, ("nvmlDeviceGetComputeRunningProcesses",)))
    told = _cuda_peak(prepared)
    assert told["nvml_used_bytes"] is None
    assert "NVML" in told["reasons"]["nvml_used_bytes"]
