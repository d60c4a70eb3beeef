"""Energy of the timed workload: NVML on CUDA, RAPL if it can be read, otherwise null with the reason.

The section also has the utilization, clock and temperature of a GPU at the end of the window.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dit_core.system import devices
from dit_core.system.nvml import Gpu, NoNvml

WINDOW_S, COOL_DOWN_S = 5.0, 2.0
RAPL = Path("/sys/class/powercap")


def energy(
    call: Callable[[], None],
    device: str,
    clock: Callable[[], float] = time.perf_counter,
    pause: Callable[[float], None] = time.sleep,
    *,
    baseline: Callable[[], None] | None = None,
) -> dict[str, Any]:
    """Return the energy section: joules per call, averaged over at least five seconds after a cool-down.

    `baseline_energy_j` is the energy of the baseline, measured in a second window; null if the run is the baseline.
    """
    if devices.kind(device) not in ("cpu", "cuda"):
        return _unknown(f"no counter of this program knows the energy of {device}")
    gpu = None
    try:
        gpu = Gpu(device) if devices.kind(device) == "cuda" else None
        read, source = (
            (_of(gpu, devices.synchronizer(device)), "NVML, whole GPU")
            if gpu
            else (Rapl().joules, "RAPL, all processor packages")
        )
        read()
    except NoNvml as error:
        return _unknown(str(error))
    except (OSError, ValueError):
        return _unknown("this processor's energy counter (RAPL) cannot be read here")
    own = _window(call, read, clock, pause, gpu.state if gpu else dict)
    if own.pop("joules") <= 0:
        return _unknown(f"the counter of {source} did not advance")
    section = {"source": source, **own, "baseline_energy_j": None}
    if baseline is None:
        return {**section, "reasons": {"baseline_energy_j": "this run is the baseline"}}
    before = _window(baseline, read, clock, pause, dict)
    if before["joules"] <= 0:
        return {**section, "reasons": {"baseline_energy_j": f"the counter of {source} did not advance"}}
    return {**section, "baseline_energy_j": before["energy_j"], "baseline_calls": before["calls"]}


def _unknown(reason: str) -> dict[str, Any]:
    return {"energy_j": None, "baseline_energy_j": None, "reason": reason}


def _window(
    call: Callable[[], None],
    read: Callable[[], float],
    clock: Callable[[], float],
    pause: Callable[[float], None],
    state: Callable[[], dict[str, Any]],
) -> dict[str, Any]:
    """Return the energy per call, the number of calls, the length of the window, and the state at its end."""
    pause(COOL_DOWN_S)
    before, started, calls = read(), clock(), 0
    while clock() - started < WINDOW_S:
        call()
        calls += 1
    seen = state()
    joules, window_s = read() - before, clock() - started
    return {"joules": joules, "energy_j": joules / calls, "calls": calls, "window_s": window_s, **seen}


def _of(gpu: Gpu, synchronize: Callable[[], None]) -> Callable[[], float]:
    def read() -> float:
        synchronize()
        return gpu.joules()

    return read


class Rapl:
    """Energy of all processor packages. A counter restarts at zero beyond its range.

    Raises OSError if there is no counter or it may not be read.
    """

    def __init__(self) -> None:
        self.packages = sorted(RAPL.glob("intel-rapl:[0-9]"))  # a name with a second colon is a part of a package
        if not self.packages:
            raise FileNotFoundError(f"{RAPL} has no package")
        self.ranges = [_microjoules(package / "max_energy_range_uj") for package in self.packages]
        self.last, self.total = self._read(), 0

    def joules(self) -> float:
        """Return the joules since this object was made. Call it at least once per range of a counter."""
        now = self._read()
        for before, after, span in zip(self.last, now, self.ranges, strict=True):
            self.total += after - before + (span if after < before else 0)
        self.last = now
        return self.total / 1e6

    def _read(self) -> list[int]:
        return [_microjoules(package / "energy_uj") for package in self.packages]


def _microjoules(path: Path) -> int:
    return int(path.read_text())
