"""How fast this device can multiply and move bytes: the roofline (Williams et al., doi 10.1145/1498765.1498785).

Taken once per environment and kept in the user's cache. A device that is busy shows less than it can, so of several
takings the best stands, and one taken under load is taken again when the load is gone.
"""

import json
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from dit_core.cache import cache_folder, keep

SIDES = {"cpu": (256, 512, 1024, 2048), "cuda": (2048, 4096, 8192)}  # of the square matrices
COPIED_BYTES = 64 * 2**20  # well past the last cache of most processors
REPEATS_S = 0.2  # per size
BUSY = 0.5  # load per thread above which a taking is provisional
PEAKS = ("float32_flops_per_s", "int8_ops_per_s", "copy_bytes_per_s")


def roofline(environment: dict[str, Any]) -> dict[str, Any]:
    """Peaks of this environment: float32 and int8 products (operations/s) and copying (bytes read and written/s).

    int8 is null with a reason where torch has no product of that kind here.
    """
    path = cache_folder() / f"roofline-{environment['fingerprint']}.json"
    load = environment["load_average_1min"] / environment["threads"]
    known = _read(path)
    if known and (known["load_per_thread"] <= max(BUSY, load)):
        return known
    taken = {**measured(torch.device(environment["device"])), "load_per_thread": round(load, 2)}
    for name in PEAKS if known else ():
        taken[name] = max((side[name] for side in (known, taken) if side[name] is not None), default=None)
    keep(path, json.dumps(taken, indent=1).encode())
    return taken


def measured(
    device: torch.device,
    sides: Sequence[int] = (),
    copied_bytes: int = COPIED_BYTES,
    repeats_s: float = REPEATS_S,
) -> dict[str, Any]:
    """The peaks, taken now: the best size and the best of its repeats."""
    sides = sides or SIDES[device.type]
    source = torch.zeros(copied_bytes // 4, device=device)
    target = torch.empty_like(source)
    found: dict[str, Any] = {
        "float32_flops_per_s": max(_rate(torch.float32, side, device, repeats_s) for side in sides),
        "int8_ops_per_s": None,
        "copy_bytes_per_s": 2 * source.nbytes / _best(lambda: target.copy_(source), device, repeats_s),
    }
    try:
        return {**found, "int8_ops_per_s": max(_rate(torch.int8, side, device, repeats_s) for side in sides)}
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0]
        return {**found, "reasons": {"int8_ops_per_s": f"torch cannot multiply int8 here: {reason}"}}


def bound(flops: int, int8_ops: int, moved_bytes: int, peaks: dict[str, Any]) -> dict[str, Any]:
    """What the roofline allows a call of so many operations, `int8_ops` of them int8, and bytes moved.

    `attainable_s` is the longer of computing and moving, as if both overlapped and nothing else took time.
    """
    rate = peaks["int8_ops_per_s"] or peaks["float32_flops_per_s"]
    compute_s = (flops - int8_ops) / peaks["float32_flops_per_s"] + int8_ops / rate
    memory_s = moved_bytes / peaks["copy_bytes_per_s"]
    return {
        **{name: peaks[name] for name in (*PEAKS, "load_per_thread")},
        "ridge_flop_per_byte": peaks["float32_flops_per_s"] / peaks["copy_bytes_per_s"],
        "compute_s": compute_s,
        "memory_s": memory_s,
        "attainable_s": max(compute_s, memory_s),
        "bound": "compute" if compute_s >= memory_s else "memory",
    }


def _rate(dtype: torch.dtype, side: int, device: torch.device, repeats_s: float) -> float:
    """Operations a second of one product of square matrices."""
    a, b = (torch.randint(-100, 100, (side, side), device=device).to(dtype) for _ in range(2))
    product = torch._int_mm if dtype == torch.int8 else torch.mm
    return 2 * side**3 / _best(lambda: product(a, b), device, repeats_s)


def _best(call: Callable[[], Tensor], device: torch.device, repeats_s: float) -> float:
    """Seconds of the quickest of many calls, the device awaited on both sides of each."""
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    call()
    best, until = float("inf"), time.perf_counter() + repeats_s
    while time.perf_counter() < until or best == float("inf"):
        wait()
        started = time.perf_counter()
        call()
        wait()
        best = min(best, time.perf_counter() - started)
    return best


def _read(path: Any) -> dict[str, Any]:
    """What was kept; nothing where it is missing or not what this version writes."""
    try:
        known = json.loads(path.read_text())
        return known if {*PEAKS, "load_per_thread"} <= set(known) else {}
    except (OSError, ValueError, TypeError):
        return {}
