"""Energy of the timed workload: NVML on CUDA, RAPL where it can be read, else null with the reason.

A GPU's utilization, clock and temperature stand beside it, taken as the window ends.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from dit_core.measure.nvml import Gpu, NoNvml

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
    """The energy section: joules of one call, averaged over a window of at least five seconds after a cool-down.

    `baseline_energy_j` is that of the other side, in a window of its own right after; null where there is none.
    """
    gpu = None
    try:
        gpu = Gpu() if device == "cuda" else None
        read, source = (_of(gpu), "NVML, whole GPU") if gpu else (Rapl().joules, "RAPL, all processor packages")
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
    """Energy of one call, with the calls and the length of the window, and the state as it ends."""
    pause(COOL_DOWN_S)
    before, started, calls = read(), clock(), 0
    while clock() - started < WINDOW_S:
        call()
        calls += 1
    seen = state()
    joules, window_s = read() - before, clock() - started
    return {"joules": joules, "energy_j": joules / calls, "calls": calls, "window_s": window_s, **seen}


def _of(gpu: Gpu) -> Callable[[], float]:
    def read() -> float:
        torch.cuda.synchronize()
        return gpu.joules()

    return read


class Rapl:
    """Energy of all processor packages. Their counters start again at zero past a range that each tells.

    Raises OSError where there is none or it may not be read.
    """

    def __init__(self) -> None:
        self.packages = sorted(RAPL.glob("intel-rapl:[0-9]"))  # a colon more is a part of a package
        if not self.packages:
            raise FileNotFoundError(f"{RAPL} has no package")
        self.ranges = [_microjoules(package / "max_energy_range_uj") for package in self.packages]
        self.last, self.total = self._read(), 0

    def joules(self) -> float:
        """Since this object was made; ask at least once in the time that a counter takes for its range."""
        now = self._read()
        for before, after, span in zip(self.last, now, self.ranges, strict=True):
            self.total += after - before + (span if after < before else 0)
        self.last = now
        return self.total / 1e6

    def _read(self) -> list[int]:
        return [_microjoules(package / "energy_uj") for package in self.packages]


def _microjoules(path: Path) -> int:
    return int(path.read_text())
