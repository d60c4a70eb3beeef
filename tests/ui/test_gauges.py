"""Readings of the device: the processor's from the kernel, a GPU's from a stand-in for NVML."""

import sys
from types import ModuleType, SimpleNamespace

import pytest

from dit_core.ui import gauges


class Refused(Exception):
    pass


@pytest.fixture
def nvml(monkeypatch) -> ModuleType:
    """One GPU that tells everything."""
    module = ModuleType("pynvml")
    told = {
        "NVMLError": Refused,
        "NVML_TEMPERATURE_GPU": 0,
        "nvmlInit": lambda: None,
        "nvmlShutdown": lambda: None,
        "nvmlDeviceGetCount": lambda: 1,
        "nvmlDeviceGetHandleByIndex": lambda index: index,
        "nvmlDeviceGetName": lambda handle: b"NVIDIA Test",
        "nvmlDeviceGetUtilizationRates": lambda handle: SimpleNamespace(gpu=73),
        "nvmlDeviceGetMemoryInfo": lambda handle: SimpleNamespace(used=1_500_000_000, total=80_000_000_000),
        "nvmlDeviceGetTemperature": lambda handle, sensor: 61,
        "nvmlDeviceGetPowerUsage": lambda handle: 212_400,
    }
    for name, value in told.items():
        setattr(module, name, value)
    monkeypatch.setitem(sys.modules, "pynvml", module)
    return module


def refuse(*_):
    raise Refused("Not Supported")


def test_a_gpu_tells_utilization_memory_temperature_and_power(nvml):
    ((name, found),), _ = gauges.gpus()
    assert name == "NVIDIA Test"
    assert [one.text for one in found] == ["73 %", "1.50 GB of 80.0 GB", "61 °C", "212 W"]


def test_what_a_gpu_does_not_tell_has_a_reason_and_costs_nothing_else(nvml, monkeypatch):
    monkeypatch.setattr(nvml, "nvmlDeviceGetPowerUsage", refuse)
    ((_, found),), _ = gauges.gpus()
    assert (found[3].text, found[3].reason) == ("–", "This GPU does not tell: Not Supported.")
    assert found[0].text == "73 %"


@pytest.mark.parametrize(("call", "words"), [("nvmlInit", "finds no NVIDIA GPU"), ("nvmlDeviceGetCount", "lost")])
def test_without_a_gpu_there_is_a_reason(nvml, monkeypatch, call, words):
    monkeypatch.setattr(nvml, call, refuse)
    found, reason = gauges.gpus()
    assert found == []
    assert words in reason


def test_the_processors_utilization_is_that_since_the_last_reading(tmp_path, monkeypatch):
    monkeypatch.setattr(gauges, "PROC", tmp_path)
    (tmp_path / "meminfo").write_text("MemTotal: 8000000 kB\nMemFree: 1 kB\nMemAvailable: 6000000 kB\nHugePages: 0\n")
    (tmp_path / "stat").write_text("cpu  100 0 0 900 0 0 0 0 0 0\ncpu0 1\n")
    first, seen = gauges.processor(None)
    assert first[0].reason
    (tmp_path / "stat").write_text("cpu  160 0 15 1025 0 0 0 0 0 0\ncpu0 1\n")
    then, _ = gauges.processor(seen)
    assert [then[0].text, then[2].text] == ["38 %", "2.05 GB of 8.19 GB"]


def test_a_system_without_these_files_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(gauges, "PROC", tmp_path)
    found, seen = gauges.processor(None)
    assert seen is None
    assert found[2].reason == "The system does not tell."
