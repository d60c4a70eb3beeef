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
RAPL = Path("/sys/class/powercap/intel-rapl:0/energy_uj")


def energy(
    call: Callable[[], None],
    device: str,
    clock: Callable[[], float] = time.perf_counter,
    pause: Callable[[float], None] = time.sleep,
) -> dict[str, Any]:
    """The energy section: joules of one call, averaged over a window of at least five seconds after a cool-down."""
    gpu = None
    try:
        gpu = Gpu() if device == "cuda" else None
        read, source = (_of(gpu), "NVML, whole GPU") if gpu else (_rapl, "RAPL, processor package")
        read()
    except NoNvml as error:
        return {"energy_j": None, "reason": str(error)}
    except OSError:
        return {"energy_j": None, "reason": "this processor's energy counter (RAPL) cannot be read here"}
    pause(COOL_DOWN_S)
    before, started, calls = read(), clock(), 0
    while clock() - started < WINDOW_S:
        call()
        calls += 1
    state = gpu.state() if gpu else {}
    joules, window_s = read() - before, clock() - started
    if joules <= 0:
        return {"energy_j": None, "reason": f"the counter of {source} did not advance"}
    return {"energy_j": joules / calls, "source": source, "calls": calls, "window_s": window_s, **state}


def _of(gpu: Gpu) -> Callable[[], float]:
    def read() -> float:
        torch.cuda.synchronize()
        return gpu.joules()

    return read


def _rapl() -> float:
    return int(RAPL.read_text()) / 1e6
