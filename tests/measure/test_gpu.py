"""What a GPU tells, with a stand-in for the driver: no GPU is needed."""

# ruff: noqa: N802 (the names are those of pynvml)

import importlib
import os
import sys
from types import SimpleNamespace

import pytest
import torch

from dit_core.measure import environment
from dit_core.measure.energy import COOL_DOWN_S, WINDOW_S, energy
from dit_core.measure.memory import _gpu_peak
from dit_core.records.schema import problem
from dit_core.records.spec import RunSpec
from dit_core.system.monitor import Monitor
from tests.factory import make_record

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

    def nvmlSystemGetDriverVersion(self):
        return "570.1"

    def nvmlDeviceGetUtilizationRates(self, handle):
        return SimpleNamespace(gpu=87, memory=40)

    def nvmlDeviceGetClockInfo(self, handle, kind):
        return 1755

    def nvmlDeviceGetTemperature(self, handle, kind):
        return 61

    def nvmlDeviceGetComputeRunningProcesses(self, handle):
        return [SimpleNamespace(pid=1, usedGpuMemory=5), SimpleNamespace(pid=os.getpid(), usedGpuMemory=900)]


class Passing:
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
    machine = Passing()
    monkeypatch.setattr(torch.accelerator, "synchronize", lambda: None)
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


@pytest.fixture
def rapl(monkeypatch, tmp_path):
    """`rapl(joules of each package)` sets the counters of a machine that has them; they hold 1,000 J."""
    monkeypatch.setattr(module, "RAPL", tmp_path)

    def write(*joules):
        for number, value in enumerate(joules):
            package = tmp_path / f"intel-rapl:{number}"
            package.mkdir(exist_ok=True)
            (package / "max_energy_range_uj").write_text(str(1000 * 10**6))
            (package / "energy_uj").write_text(str(int(value * 1e6) % (1000 * 10**6)))

    return write


def test_the_processor_is_read_from_rapl_and_null_with_a_reason_without(machine, rapl, tmp_path):
    told = energy(machine.call, "cpu", machine.clock, machine.pause)
    assert (told["energy_j"], "RAPL" in told["reason"]) == (None, True)

    def call():
        machine.call()
        rapl(machine.now * 30)  # 30 W

    call()
    (tmp_path / "intel-rapl:0:0").mkdir()  # a part of the package, which would count twice
    (tmp_path / "intel-rapl:0:0" / "energy_uj").write_text("7")
    told = energy(call, "cpu", machine.clock, machine.pause)
    assert told["energy_j"] == pytest.approx((8 * 0.7 + COOL_DOWN_S) * 30 / 8)
    assert "RAPL" in told["source"]


def test_the_energy_of_all_packages_adds_up_and_a_counter_may_start_again(rapl):
    rapl(990.0, 5.0)
    counter = module.Rapl()
    assert counter.joules() == 0
    rapl(1020.0, 15.0)  # the first one passed its range
    assert counter.joules() == pytest.approx(30 + 10)
    rapl(1021.0, 15.0)
    assert counter.joules() == pytest.approx(41)


def test_a_package_that_may_not_be_read_is_a_reason(machine, rapl, tmp_path):
    rapl(5.0)
    (tmp_path / "intel-rapl:0" / "energy_uj").unlink()
    assert "cannot be read" in energy(machine.call, "cpu", machine.clock, machine.pause)["reason"]


def test_the_baseline_s_energy_is_measured_in_the_same_job(machine):
    def slower():
        machine.now += 1.4

    told = energy(machine.call, "cuda", machine.clock, machine.pause, baseline=slower)
    assert machine.paused == [COOL_DOWN_S] * 2
    assert told["energy_j"] == pytest.approx(0.7 * 200)
    assert told["baseline_energy_j"] == pytest.approx(1.4 * 200)
    alone = energy(machine.call, "cuda", machine.clock, machine.pause)
    assert alone["baseline_energy_j"] is None
    assert alone["reasons"]["baseline_energy_j"] == "this run is the baseline"
    assert not problem({**make_record().to_dict(), "energy": told})
    assert not problem({**make_record().to_dict(), "energy": alone})


def test_the_driver_is_part_of_a_gpu_s_fingerprint(machine, monkeypatch):
    properties = SimpleNamespace(uuid=UUID, name="Fake", total_memory=5)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    told = environment("cuda")
    assert told["driver"] == "570.1"
    monkeypatch.setattr(FakeNvml, "nvmlSystemGetDriverVersion", lambda self: "580.2")
    assert environment("cuda")["fingerprint"] != told["fingerprint"]


def test_readings_of_a_gpu_have_its_clock_and_the_number_of_other_processes(machine):
    monitor = Monitor("cuda", machine.clock)
    monitor.read()
    (reading,) = monitor.readings
    values = reading["gpu_utilization"], reading["gpu_clock_hz"], reading["gpu_temperature_celsius"]
    assert values == (0.87, 1_755_000_000, 61)
    assert reading["gpu_other_processes"] == 1


def test_cuda_tells_three_figures_of_memory_and_they_are_not_mixed(machine, monkeypatch):
    done = []
    for name in ("empty_cache", "reset_peak_memory_stats"):
        monkeypatch.setattr(torch.accelerator, name, lambda name=name: done.append(name))
    monkeypatch.setattr(torch.accelerator, "max_memory_allocated", lambda: 300)
    monkeypatch.setattr(torch.accelerator, "max_memory_reserved", lambda: 500)
    monkeypatch.setattr(torch, "zeros", lambda *_, **__: None)
    monkeypatch.setattr("dit_core.system.devices.select", torch.device)
    workload = SimpleNamespace(spec=RunSpec(device="cuda"), load_candidate=lambda: lambda: done.append("call"))
    told = _gpu_peak(workload)
    assert (told["peak_memory_bytes"], told["peak_reserved_bytes"], told["nvml_used_bytes"]) == (300, 500, 900)
    assert done == ["call", "empty_cache", "reset_peak_memory_stats", "call"]
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(machine.clock, ("nvmlDeviceGetComputeRunningProcesses",)))
    told = _gpu_peak(workload)
    assert told["nvml_used_bytes"] is None
    assert "NVML" in told["reasons"]["nvml_used_bytes"]
