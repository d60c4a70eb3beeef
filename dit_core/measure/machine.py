"""What the machine did while something was timed: load, clocks, temperature, and on a GPU who else was there."""

import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dit_core.measure.nvml import Gpu, NoNvml

EVERY_S = 2.0
SYS, PROC = Path("/sys"), Path("/proc")
UNTOLD = {
    "cpu_clock_hz": "neither cpufreq nor /proc/cpuinfo tells the processor's clock",
    "cpu_temperature_celsius": "no thermal zone can be read",
    "busy_share": "/proc/stat cannot be read",
}


class Machine:
    """Looks at the machine, at most once in `EVERY_S`; `looks` are figures with the time since the first of them.

    A figure is None where the machine does not tell it.
    """

    def __init__(self, device: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock, self.looks, self.started, self.busy = clock, [], clock(), _busy()
        self.gpu: Gpu | None = None
        self.why_no_gpu = ""
        if device == "cuda":
            try:
                self.gpu = Gpu()
            except NoNvml as error:
                self.why_no_gpu = str(error)

    def look(self, *, now: bool = False) -> None:
        """Take the figures, unless they were taken a moment ago; `now` takes them all the same."""
        at_s = self.clock() - self.started
        if not now and self.looks and at_s - self.looks[-1]["at_s"] < EVERY_S:
            return
        before, self.busy = self.busy, _busy()
        seen: dict[str, Any] = {
            "at_s": round(at_s, 2),
            "load_average_1min": round(os.getloadavg()[0], 2),
            "cpu_clock_hz": cpu_clock_hz(),
            "cpu_temperature_celsius": cpu_temperature_celsius(),
            "busy_share": _share(before, self.busy),
        }
        if self.gpu:
            seen.update({f"gpu_{name}": value for name, value in self.gpu.state().items()})
            seen["gpu_other_processes"] = max(0, (self.gpu.processes() or 1) - 1)
        self.looks.append(seen)


def untold(looks: list[dict[str, Any]]) -> dict[str, str]:
    """Why figures are unknown in every look."""
    return {name: why for name, why in UNTOLD.items() if all(one.get(name) is None for one in looks)}


def cpu_clock_hz() -> float | None:
    """The mean clock of all processors at this moment."""
    found = _numbers(SYS.glob("devices/system/cpu/cpu[0-9]*/cpufreq/scaling_cur_freq"), 1e3)
    if not found:
        try:
            lines = (PROC / "cpuinfo").read_text().splitlines()
        except OSError:
            return None
        found = [1e6 * float(line.split(":")[1]) for line in lines if line.startswith("cpu MHz")]
    return round(statistics.fmean(found)) if found else None


def cpu_temperature_celsius() -> float | None:
    """The hottest thermal zone."""
    return max(_numbers(SYS.glob("class/thermal/thermal_zone*/temp"), 1e-3), default=None)


def _busy() -> tuple[int, int] | None:
    """Ticks that all processors were busy, and all ticks, since the machine started (proc(5))."""
    try:
        ticks = [int(one) for one in (PROC / "stat").read_text().splitlines()[0].split()[1:9]]
    except (OSError, ValueError, IndexError):
        return None
    return sum(ticks) - sum(ticks[3:5]), sum(ticks)


def _share(before: tuple[int, int] | None, after: tuple[int, int] | None) -> float | None:
    """Of all processors, by whatever ran; None where no time passed."""
    if before is None or after is None or after[1] <= before[1]:
        return None
    return round(min(1.0, max(0.0, (after[0] - before[0]) / (after[1] - before[1]))), 3)


def _numbers(paths: Any, unit: float) -> list[float]:
    """Of files that hold one number each; those that cannot be read are left out."""
    found = []
    for path in paths:
        try:
            found.append(unit * float(path.read_text()))
        except (OSError, ValueError):
            continue
    return found
