"""The roofline of a device: how fast it can multiply and move bytes (Williams et al., doi 10.1145/1498765.1498785).

The peaks are measured once per environment and kept in the user's cache. Load from other programs only lowers a peak,
so the best of several measurements is kept, and peaks that were measured under load are measured again without it.
"""

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dit_core.system import devices
from dit_core.system.cache import cache_folder, keep

SIDES = {"cpu": (256, 512, 1024, 2048), "gpu": (2048, 4096, 8192)}  # of the square matrices
COPIED_BYTES = 64 * 2**20  # larger than the last-level cache of most processors
REPEATS_S = 0.2  # per size
BUSY = 0.5  # load per thread above which peaks are measured again later
PEAKS = ("float32_flops_per_s", "int8_ops_per_s", "copy_bytes_per_s")


def device_peaks(environment: dict[str, Any]) -> dict[str, Any]:
    """Return the peaks of an environment's device, measured at the first call, and the load while they were measured.

    `float32_flops_per_s` and `int8_ops_per_s` are of square matrix products, `copy_bytes_per_s` counts bytes read and
    written. A peak is null with a reason if torch has no int8 product on this device.
    """
    path = cache_folder() / f"roofline-{environment['fingerprint']}.json"
    load = environment["load_average_1min"] / environment["threads"]
    known = _read(path)
    if known and (known["load_per_thread"] <= max(BUSY, load)):
        return known
    peaks = {**measure_peaks(torch.device(environment["device"])), "load_per_thread": round(load, 2)}
    for name in PEAKS if known else ():
        peaks[name] = max((side[name] for side in (known, peaks) if side[name] is not None), default=None)
    keep(path, json.dumps(peaks, indent=1).encode())
    return peaks


def measure_peaks(
    device: torch.device,
    sides: Sequence[int] = (),
    copied_bytes: int = COPIED_BYTES,
    repeats_s: float = REPEATS_S,
) -> dict[str, Any]:
    """Measure the peaks: the best size and the best of its repeats."""
    sides = sides or SIDES["cpu" if device.type == "cpu" else "gpu"]
    source = torch.zeros(copied_bytes // 4, device=device)
    target = torch.empty_like(source)
    peaks: dict[str, Any] = {
        "float32_flops_per_s": max(_product_rate(torch.float32, side, device, repeats_s) for side in sides),
        "int8_ops_per_s": None,
        "copy_bytes_per_s": 2 * source.nbytes / _least_s(lambda: target.copy_(source), device, repeats_s),
    }
    try:
        peaks["int8_ops_per_s"] = max(_product_rate(torch.int8, side, device, repeats_s) for side in sides)
    except RuntimeError as error:
        message = str(error).strip().splitlines()[0]
        peaks["reasons"] = {"int8_ops_per_s": f"torch cannot multiply int8 on this device: {message}"}
    return peaks


def roofline(flops: int, int8_ops: int, moved_bytes: int, peaks: dict[str, Any]) -> dict[str, Any]:
    """Return the least time in which a device with these peaks can do a call, and what limits it.

    `int8_ops` of the `flops` operations are on int8. `attainable_s` is the longer of computing and moving bytes, as if
    both overlapped fully. They take equally long at `ridge_flop_per_byte` operations per byte.
    """
    int8_rate = peaks["int8_ops_per_s"] or peaks["float32_flops_per_s"]
    compute_s = (flops - int8_ops) / peaks["float32_flops_per_s"] + int8_ops / int8_rate
    memory_s = moved_bytes / peaks["copy_bytes_per_s"]
    return {
        **{name: peaks[name] for name in (*PEAKS, "load_per_thread")},
        "ridge_flop_per_byte": peaks["float32_flops_per_s"] / peaks["copy_bytes_per_s"],
        "compute_s": compute_s,
        "memory_s": memory_s,
        "attainable_s": max(compute_s, memory_s),
        "bound": "compute" if compute_s >= memory_s else "memory",
    }


def _product_rate(dtype: torch.dtype, side: int, device: torch.device, repeats_s: float) -> float:
    """Operations per second of one product of square matrices."""
    a, b = (torch.randint(-100, 100, (side, side), device=device).to(dtype) for _ in range(2))
    product = torch._int_mm if dtype == torch.int8 else torch.mm
    return 2 * side**3 / _least_s(lambda: product(a, b), device, repeats_s)


def _least_s(call: Callable[[], Tensor], device: torch.device, repeats_s: float) -> float:
    """Seconds of the fastest of many calls, with the device synchronized on both sides of each."""
    synchronize = devices.synchronizer(device.type)
    call()
    least, until = float("inf"), time.perf_counter() + repeats_s
    while time.perf_counter() < until or least == float("inf"):
        synchronize()
        started = time.perf_counter()
        call()
        synchronize()
        least = min(least, time.perf_counter() - started)
    return least


def _read(path: Path) -> dict[str, Any]:
    """Read the kept peaks; empty if the file is missing or was not written by this version."""
    try:
        known = json.loads(path.read_text())
        return known if {*PEAKS, "load_per_thread"} <= set(known) else {}
    except (OSError, ValueError, TypeError):
        return {}
