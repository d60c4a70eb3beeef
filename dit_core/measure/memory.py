"""Bytes of weights, and the peak of a run in a process of its own."""

import ctypes
import gc
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dit_core import fresh
from dit_core.measure.nvml import Gpu, NoNvml
from dit_core.spec import RunSpec

CPU_PEAK = (
    "resident memory of a process of its own while it generates (VmHWM), above its level before the model was loaded"
)
CUDA_PEAK = "torch.cuda.max_memory_allocated while a process of its own generates"


def weight_bytes(module: nn.Module) -> int:
    """Bytes of the distinct storages behind parameters and buffers; tensor subclasses are opened to what they hold."""
    storages = {}
    for tensor in [*module.parameters(), *module.buffers()]:
        for plain in plain_tensors(tensor):
            storage = plain.untyped_storage()
            storages[storage.data_ptr(), str(plain.device)] = storage.nbytes()
    return sum(storages.values())


def memory(
    spec: RunSpec, candidate: nn.Module, baseline: nn.Module, watch: Callable[[], None] = lambda: None
) -> dict[str, Any]:
    """The memory section: weights of both networks, and the candidate's peak. What `watch` raises ends it."""
    weights = {"weight_bytes": weight_bytes(candidate), "baseline_weight_bytes": weight_bytes(baseline)}
    return {**weights, **peak_memory(spec, watch=watch)}


def peak_memory(spec: RunSpec, limit_s: float = 600, watch: Callable[[], None] = lambda: None) -> dict[str, Any]:
    """Run the spec once in a fresh process and read its peak; null with the reason where that process fails."""
    try:
        return fresh.ask(__name__, spec.to_json(), limit_s, watch)
    except fresh.Failed as error:
        reason = f"the process that measures memory failed: {error}"
        return {"peak_memory_bytes": None, "peak_kind": CPU_PEAK, "reason": reason}


def main() -> None:
    """Read a spec from standard input, print the peak figures as one line of JSON."""
    from dit_core import experiment

    spec = RunSpec.from_dict(json.loads(sys.stdin.read()))
    device = torch.device(spec.device)
    if device.type == "cuda":
        torch.zeros(1, device=device)  # the context is not the run's
    before = _status("VmRSS")
    prepared = experiment.prepare(spec, keep_baseline=False)
    if device.type == "cuda":
        print(json.dumps(_cuda_peak(prepared)))
        return
    load_peak = _status("VmHWM") - before
    gc.collect()
    _give_back_freed_memory()
    reset = _reset_peak()
    prepared.generate_once()
    peak = _status("VmHWM") - before
    figures = {"peak_memory_bytes": max(peak, 0), "load_peak_memory_bytes": max(load_peak, 0), "peak_kind": CPU_PEAK}
    if not reset:
        figures["peak_kind"] = CPU_PEAK.replace("while it generates", "while it loads and generates")
    print(json.dumps(figures))


def _cuda_peak(prepared: Any) -> dict[str, Any]:
    prepared.generate_once()
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    prepared.generate_once()
    torch.cuda.synchronize()
    figures = {
        "peak_memory_bytes": torch.cuda.max_memory_allocated(),
        "peak_reserved_bytes": torch.cuda.max_memory_reserved(),
        "peak_kind": CUDA_PEAK,
    }
    try:
        used = Gpu().process_bytes(os.getpid())
        reason = "" if used else "NVML does not tell what this process holds"
    except NoNvml as error:
        used, reason = None, str(error)
    return {**figures, "nvml_used_bytes": used, **({"reasons": {"nvml_used_bytes": reason}} if reason else {})}


def plain_tensors(tensor: Tensor) -> list[Tensor]:
    """What a tensor subclass holds; a plain tensor itself."""
    if not hasattr(tensor, "__tensor_flatten__"):
        return [tensor]
    names, _ = tensor.__tensor_flatten__()  # type: ignore[operator]
    return [plain for name in names for plain in plain_tensors(getattr(tensor, name))]


def _status(key: str) -> int:
    """Bytes of one line of /proc/self/status."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {key}: peak memory needs Linux.")


def _reset_peak() -> bool:
    """Set VmHWM to the present level (proc(5), clear_refs); False where that is not allowed."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _give_back_freed_memory() -> None:
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    except (OSError, AttributeError):
        return


if __name__ == "__main__":
    main()
