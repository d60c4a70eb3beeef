"""State of the machine while something is timed: load, clocks, temperature, and on a GPU also other processes."""

import time
from collections.abc import Callable
from typing import Any

import psutil

from dit_core.system import devices
from dit_core.system.hardware import busy_share, load_average, processor_seconds
from dit_core.system.nvml import Gpu, NoNvml

EVERY_S = 2.0
CPU_SENSORS = ("coretemp", "k10temp", "zenpower", "cpu_thermal", "acpitz")
MISSING = {
    "cpu_clock_hz": "the system does not report the processor's clock",
    "cpu_temperature_celsius": "the system reports no temperature sensor",
    "busy_share": "no time passed between two readings",
}


class Monitor:
    """Reads the machine's state at most once in `EVERY_S`; `readings` hold the values and the seconds since the start.

    A value that the machine does not report is None.
    """

    def __init__(self, device: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock, self.readings, self.started, self.busy = clock, [], clock(), processor_seconds()
        self.gpu: Gpu | None = None
        self.why_no_gpu = ""
        if devices.kind(device) == "cuda":
            try:
                self.gpu = Gpu(device)
            except NoNvml as error:
                self.why_no_gpu = str(error)

    def read(self, *, now: bool = False) -> None:
        """Take a reading, unless the last is less than `EVERY_S` old; with `now` in any case."""
        at_s = self.clock() - self.started
        if not now and self.readings and at_s - self.readings[-1]["at_s"] < EVERY_S:
            return
        before, self.busy = self.busy, processor_seconds()
        reading: dict[str, Any] = {
            "at_s": round(at_s, 2),
            "load_average_1min": round(load_average(), 2),
            "cpu_clock_hz": cpu_clock_hz(),
            "cpu_temperature_celsius": cpu_temperature_celsius(),
            "busy_share": _rounded(busy_share(before, self.busy)),
        }
        if self.gpu:
            reading.update({f"gpu_{name}": value for name, value in self.gpu.state().items()})
            reading["gpu_other_processes"] = max(0, (self.gpu.processes() or 1) - 1)
        self.readings.append(reading)


def missing_reasons(readings: list[dict[str, Any]]) -> dict[str, str]:
    """Why values are missing from all readings, by their names."""
    return {name: why for name, why in MISSING.items() if all(reading.get(name) is None for reading in readings)}


def cpu_clock_hz() -> float | None:
    """Mean clock of all processor cores at this moment."""
    try:
        clock = psutil.cpu_freq()
    except (NotImplementedError, OSError, RuntimeError):
        return None
    return round(clock.current * 1e6) if clock and clock.current else None


def cpu_temperature_celsius() -> float | None:
    """The hottest sensor of the processor, or of the whole machine if no sensor is known to be the processor's."""
    sensors = getattr(psutil, "sensors_temperatures", dict)()  # not on macOS and Windows
    known = [name for name in CPU_SENSORS if name in sensors] or list(sensors)
    return max((sensor.current for name in known for sensor in sensors[name]), default=None)


def _rounded(share: float | None) -> float | None:
    return None if share is None else round(share, 3)
