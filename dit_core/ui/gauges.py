"""What the device is doing right now: NVML's readings of a GPU, the kernel's of the processor. Knows no Streamlit."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dit_core.ui import words

PROC = Path("/proc")


@dataclass(frozen=True)
class Gauge:
    """One reading as text with its unit, or why there is none."""

    title: str
    text: str
    reason: str = ""


def processor(before: tuple[int, int] | None) -> tuple[list[Gauge], tuple[int, int] | None]:
    """Readings of the processor, and the counters (busy, all ticks) that the next reading starts from."""
    now = _ticks()
    if now and before and now[1] > before[1]:
        use = Gauge("Utilization", f"{100 * (now[0] - before[0]) / (now[1] - before[1]):.0f} %")
    else:
        use = Gauge("Utilization", words.UNKNOWN, "Known from the second reading on.")
    cores = len(os.sched_getaffinity(0))
    load = f"{os.getloadavg()[0]:.1f} on {cores} core{'s' * (cores != 1)}"
    return [use, Gauge("Load, 1 min", load), _memory()], now


def gpus() -> tuple[list[tuple[str, list[Gauge]]], str]:
    """Name and readings of each NVIDIA GPU; without any the reason."""
    try:
        import pynvml
    except ImportError:
        return [], "nvidia-ml-py is not installed."
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return [], f"NVML finds no NVIDIA GPU here ({error})."
    try:
        return [_gpu(pynvml, index) for index in range(pynvml.nvmlDeviceGetCount())], "NVML counts no GPU."
    except pynvml.NVMLError as error:
        return [], f"NVML lost the GPU ({error})."
    finally:
        pynvml.nvmlShutdown()


def _gpu(nvml, index: int) -> tuple[str, list[Gauge]]:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)

    def gauge(title: str, read: Callable[[], str]) -> Gauge:
        try:
            return Gauge(title, read())
        except nvml.NVMLError as error:
            return Gauge(title, words.UNKNOWN, f"This GPU does not tell: {error}.")

    def memory() -> str:
        found = nvml.nvmlDeviceGetMemoryInfo(handle)
        return f"{words.size(found.used)} of {words.size(found.total)}"

    name = nvml.nvmlDeviceGetName(handle)
    return name.decode() if isinstance(name, bytes) else name, [
        gauge("Utilization", lambda: f"{nvml.nvmlDeviceGetUtilizationRates(handle).gpu} %"),
        gauge("Memory", memory),
        gauge("Temperature", lambda: f"{nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)} °C"),
        gauge("Power", lambda: f"{nvml.nvmlDeviceGetPowerUsage(handle) / 1000:.0f} W"),
    ]


def _ticks() -> tuple[int, int] | None:
    """Ticks of all cores since the start: busy, and all."""
    try:
        ticks = [int(word) for word in (PROC / "stat").read_text().split("\n", 1)[0].split()[1:9]]
    except (OSError, ValueError):
        return None
    return sum(ticks) - ticks[3] - ticks[4], sum(ticks)  # all but idle and waiting for a disk


def _memory() -> Gauge:
    try:
        lines = (line.split() for line in (PROC / "meminfo").read_text().splitlines())
        found = {name: 1024 * int(size) for name, size, *_ in lines}
        return Gauge(
            "Memory", f"{words.size(found['MemTotal:'] - found['MemAvailable:'])} of {words.size(found['MemTotal:'])}"
        )
    except (OSError, ValueError, KeyError):
        return Gauge("Memory", words.UNKNOWN, "The system does not tell.")
