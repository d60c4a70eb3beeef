"""The processor and memory of this machine, mostly from psutil. Imports no torch."""

import os
import platform
from contextlib import suppress
from pathlib import Path

import psutil

CPUINFO = Path("/proc/cpuinfo")


def usable_cores() -> int:
    """Number of processor cores that this process may use."""
    with suppress(AttributeError):  # macOS has no affinity
        return len(psutil.Process().cpu_affinity() or [])
    return os.cpu_count() or 1


def memory_bytes() -> int:
    """Bytes of memory of the machine."""
    return psutil.virtual_memory().total


def available_bytes() -> int:
    """Bytes of memory that programs can take without swapping."""
    return psutil.virtual_memory().available


def load_average() -> float:
    """Mean number of running or waiting processes over the last minute."""
    return psutil.getloadavg()[0]


def processor_name() -> str:
    """Model of the processor; its architecture if the system does not report the model."""
    return processor_fields().get("model name") or platform.processor() or platform.machine()


def processor_fields() -> dict[str, str]:
    """Fields of the first processor in /proc/cpuinfo, such as `flags`; empty without it. psutil has none of them."""
    try:
        first = CPUINFO.read_text().split("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first.splitlines() if ":" in line)
    return {name.strip(): value.strip() for name, _, value in pairs}


def processor_seconds() -> tuple[float, float]:
    """Seconds for which the processors were busy, and in all, since the machine started."""
    times = psutil.cpu_times()
    total = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)  # part of user and nice
    return total - times.idle - getattr(times, "iowait", 0.0), total


def busy_share(before: tuple[float, float], after: tuple[float, float]) -> float | None:
    """Share of all processor time between two readings that was used by any program; None if no time passed."""
    busy_s, all_s = after[0] - before[0], after[1] - before[1]
    return min(1.0, max(0.0, busy_s / all_s)) if all_s > 0 else None
