"""Readings of the processor, and of a GPU through a stand-in for NVML."""

import sys
from types import ModuleType, SimpleNamespace

import pytest

from dit_core.system import hardware
from dit_core.ui.machine import gauges


class NVMLError(Exception):
    pass


@pytest.fixture
def nvml(monkeypatch) -> ModuleType:
    """A stand-in for NVML with one GPU that reports everything."""
    module = ModuleType("pynvml")
    functions = {
        "NVMLError": NVMLError,
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
    for name, value in functions.items():
        setattr(module, name, value)
    monkeypatch.setitem(sys.modules, "pynvml", module)
    return module


def refuse(*_):
    raise NVMLError("Not Supported")


def test_a_gpu_has_utilization_memory_temperature_and_power(nvml):
    ((name, readings),), _ = gauges.gpus()
    assert name == "NVIDIA Test"
    assert [gauge.text for gauge in readings] == ["73 %", "1.50 GB of 80.0 GB", "61 °C", "212 W"]


def test_a_reading_that_a_gpu_does_not_report_has_a_reason_and_the_others_stay(nvml, monkeypatch):
    monkeypatch.setattr(nvml, "nvmlDeviceGetPowerUsage", refuse)
    ((_, readings),), _ = gauges.gpus()
    assert (readings[3].text, readings[3].reason) == ("–", "This GPU does not report it: Not Supported.")
    assert readings[0].text == "73 %"


@pytest.mark.parametrize(
    ("call", "words"), [("nvmlInit", "finds no NVIDIA GPU"), ("nvmlDeviceGetCount", "lost contact")]
)
def test_without_a_gpu_there_is_a_reason(nvml, monkeypatch, call, words):
    monkeypatch.setattr(nvml, call, refuse)
    gpus, reason = gauges.gpus()
    assert gpus == []
    assert words in reason


def test_the_processors_utilization_is_measured_since_the_last_reading(monkeypatch):
    monkeypatch.setattr(hardware, "memory_bytes", lambda: 8_192_000_000)
    monkeypatch.setattr(hardware, "available_bytes", lambda: 6_144_000_000)
    monkeypatch.setattr(hardware, "processor_seconds", lambda: (100.0, 1000.0))
    first, seconds = gauges.processor(None)
    assert first[0].reason
    monkeypatch.setattr(hardware, "processor_seconds", lambda: (175.0, 1200.0))
    second, _ = gauges.processor(seconds)
    assert [second[0].text, second[2].text] == ["38 %", "2.05 GB of 8.19 GB"]
