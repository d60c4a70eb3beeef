"""Energy of the timed workload: NVML on CUDA, RAPL where it can be read, else null with the reason."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

WINDOW_S = 5.0
RAPL = Path("/sys/class/powercap/intel-rapl:0/energy_uj")


def energy(call: Callable[[], None], device: str) -> dict[str, Any]:
    """The energy section: joules of one call, averaged over a window of at least five seconds."""
    try:
        read, source = _nvml() if device == "cuda" else _rapl()
    except RuntimeError as error:
        return {"energy_j": None, "reason": str(error)}
    before, started, calls = read(), time.perf_counter(), 0
    while time.perf_counter() - started < WINDOW_S:
        call()
        calls += 1
    joules = read() - before
    if joules <= 0:
        return {"energy_j": None, "reason": f"the counter of {source} did not advance"}
    return {"energy_j": joules / calls, "source": source, "calls": calls, "window_s": time.perf_counter() - started}


def _nvml() -> tuple[Callable[[], float], str]:
    import pynvml
    import torch

    try:
        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByIndex(torch.cuda.current_device())
        pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except pynvml.NVMLError as error:
        raise RuntimeError(f"NVML does not tell the energy of this GPU: {error}") from error

    def read() -> float:
        torch.cuda.synchronize()
        return pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1000

    return read, "NVML, whole GPU"


def _rapl() -> tuple[Callable[[], float], str]:
    try:
        RAPL.read_text()
    except OSError as error:
        raise RuntimeError("this processor's energy counter (RAPL) cannot be read here") from error
    return lambda: int(RAPL.read_text()) / 1e6, "RAPL, processor package"
