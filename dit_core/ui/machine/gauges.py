"""Current load of the processor (psutil) and of NVIDIA GPUs (NVML). Knows no Streamlit."""

from collections.abc import Callable
from dataclasses import dataclass

from dit_core.system import hardware
from dit_core.ui import format


@dataclass(frozen=True)
class Gauge:
    """A reading as text with its unit; without a reading, `reason` says why."""

    title: str
    text: str
    reason: str = ""


def processor(before: tuple[float, float] | None) -> tuple[list[Gauge], tuple[float, float]]:
    """Return readings of the processor, and its counters (busy and all seconds) to pass as `before` next time.

    Utilization is the share of busy time since `before`.
    """
    now = hardware.processor_seconds()
    share = hardware.busy_share(before, now) if before else None
    if share is None:
        use = Gauge("Utilization", format.UNKNOWN, "Shown from the second reading on.")
    else:
        use = Gauge("Utilization", f"{100 * share:.0f} %")
    cores = hardware.usable_cores()
    load = f"{hardware.load_average():.1f} on {cores} core{'s' * (cores != 1)}"
    total = hardware.memory_bytes()
    memory = f"{format.size(total - hardware.available_bytes())} of {format.size(total)}"
    return [use, Gauge("Load, 1 min", load), Gauge("Memory", memory)], now


def gpus() -> tuple[list[tuple[str, list[Gauge]]], str]:
    """Return the name and the readings of each NVIDIA GPU, and the reason if there are none."""
    try:
        import pynvml
    except ImportError:
        return [], "nvidia-ml-py is not installed."
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return [], f"NVML finds no NVIDIA GPU ({error})."
    found, reason = [], "NVML reports no GPU."
    try:
        for index in range(pynvml.nvmlDeviceGetCount()):
            try:
                found.append(_gpu(pynvml, index))
            except pynvml.NVMLError as error:  # a lost GPU does not hide the others
                reason = f"NVML lost contact with the GPU ({error})."
    except pynvml.NVMLError as error:
        reason = f"NVML lost contact with the GPU ({error})."
    finally:
        pynvml.nvmlShutdown()
    return found, reason


def _gpu(nvml, index: int) -> tuple[str, list[Gauge]]:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)

    def gauge(title: str, read: Callable[[], str]) -> Gauge:
        try:
            return Gauge(title, read())
        except nvml.NVMLError as error:
            return Gauge(title, format.UNKNOWN, f"This GPU does not report it: {error}.")

    def memory() -> str:
        info = nvml.nvmlDeviceGetMemoryInfo(handle)
        return f"{format.size(info.used)} of {format.size(info.total)}"

    name = nvml.nvmlDeviceGetName(handle)
    return name.decode() if isinstance(name, bytes) else name, [
        gauge("Utilization", lambda: f"{nvml.nvmlDeviceGetUtilizationRates(handle).gpu} %"),
        gauge("Memory", memory),
        gauge("Temperature", lambda: f"{nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)} °C"),
        gauge("Power", lambda: f"{nvml.nvmlDeviceGetPowerUsage(handle) / 1000:.0f} W"),
    ]
