"""The memory section: bytes of weights, and the peak of a process that generates."""

import ctypes
import gc
import os
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dit_core.errors import Cancelled
from dit_core.measure.workload import Workload
from dit_core.system import devices, isolation
from dit_core.system.nvml import Gpu, NoNvml

CPU_PEAK = (
    "resident memory of a process of its own while it generates (VmHWM), above its level before the model was loaded"
)
GPU_PEAK = "torch.accelerator.max_memory_allocated while a process of its own generates"


def weight_bytes(module: nn.Module) -> int:
    """Bytes of the distinct storages behind parameters and buffers; subclasses count with their inner tensors."""
    storages = {}
    for tensor in [*module.parameters(), *module.buffers()]:
        for plain in plain_tensors(tensor):
            storage = plain.untyped_storage()
            storages[storage.data_ptr(), str(plain.device)] = storage.nbytes()
    return sum(storages.values())


def weights_of(candidate: nn.Module, baseline: nn.Module) -> dict[str, Any]:
    """The part of the memory section that needs no measurement: bytes of both networks' weights."""
    return {"weight_bytes": weight_bytes(candidate), "baseline_weight_bytes": weight_bytes(baseline)}


@contextmanager
def peak_memory_alongside(workload: Workload) -> Iterator[Callable[[Callable[[], None]], dict[str, Any]]]:
    """Measure the peak in a new process while the body of this context runs, which must not be timed.

    Gives a function that waits for the peak and calls its argument meanwhile; what that raises ends the measurement. On
    a GPU, whose memory the body may need, the measurement begins only then.
    """
    if _is_on_gpu(workload):
        yield lambda watch: peak_memory(workload, watch=watch)
        return
    left = threading.Event()

    def end_with_body() -> None:
        if left.is_set():
            raise Cancelled("The run ended before its memory was measured.")

    def wait(watch: Callable[[], None]) -> dict[str, Any]:
        while not futures.wait([peak], isolation.POLL_S).done:
            watch()
        return peak.result()

    with futures.ThreadPoolExecutor(1) as pool:
        peak = pool.submit(peak_memory, workload, watch=end_with_body)
        try:
            yield wait
        finally:
            left.set()


def peak_memory(workload: Workload, limit_s: float = 600, watch: Callable[[], None] = lambda: None) -> dict[str, Any]:
    """Generate once in a new process and return its peak; null with the reason if that process fails.

    On a CPU the process is a new interpreter: in a fork, library code that the fork server has already read would
    become resident, and count as the model's, when the model runs.
    """
    on_gpu = _is_on_gpu(workload)
    method, measure = ("forkserver", _gpu_peak) if on_gpu else ("spawn", _cpu_peak)
    try:
        return isolation.run(measure, workload, limit_s=limit_s, watch=watch, method=method)
    except isolation.Failed as error:
        reason = f"the process that measures memory failed: {error}"
        return {"peak_memory_bytes": None, "peak_kind": GPU_PEAK if on_gpu else CPU_PEAK, "reason": reason}


def _is_on_gpu(workload: Workload) -> bool:
    return devices.kind(workload.spec.device) != "cpu"


def _cpu_peak(workload: Workload) -> dict[str, Any]:
    before = _status("VmRSS")
    generate = workload.load_candidate()
    load_peak = _status("VmHWM") - before
    gc.collect()
    _give_back_freed_memory()
    kind = CPU_PEAK if _reset_peak() else CPU_PEAK.replace("while it generates", "while it loads and generates")
    generate()
    peak = _status("VmHWM") - before
    return {"peak_memory_bytes": max(peak, 0), "load_peak_memory_bytes": max(load_peak, 0), "peak_kind": kind}


def _gpu_peak(workload: Workload) -> dict[str, Any]:
    device = workload.spec.device
    torch.zeros(1, device=devices.select(device))  # the context is not the model's
    generate = workload.load_candidate()
    generate()
    torch.accelerator.synchronize()
    torch.accelerator.empty_cache()
    torch.accelerator.reset_peak_memory_stats()
    generate()
    torch.accelerator.synchronize()
    figures: dict[str, Any] = {
        "peak_memory_bytes": torch.accelerator.max_memory_allocated(),
        "peak_reserved_bytes": torch.accelerator.max_memory_reserved(),
        "peak_kind": GPU_PEAK,
    }
    if devices.kind(device) != "cuda":
        return figures
    try:
        process_bytes = Gpu(device).process_bytes(os.getpid())
        reason = "" if process_bytes else "NVML does not report the memory of this process"
    except NoNvml as error:
        process_bytes, reason = None, str(error)
    return {**figures, "nvml_used_bytes": process_bytes, **({"reasons": {"nvml_used_bytes": reason}} if reason else {})}


def plain_tensors(tensor: Tensor) -> list[Tensor]:
    """The plain tensors inside a tensor subclass; a plain tensor itself."""
    if not hasattr(tensor, "__tensor_flatten__"):
        return [tensor]
    names, _ = tensor.__tensor_flatten__()  # type: ignore[operator]
    return [plain for name in names for plain in plain_tensors(getattr(tensor, name))]


def _status(key: str) -> int:
    """Bytes of one line of /proc/self/status (psutil has no VmHWM). Raises RuntimeError if there is none."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(f"{key}:"):
                return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {key}: peak memory needs Linux.")


def _reset_peak() -> bool:
    """Set VmHWM to the present level (proc(5), clear_refs); False if that is not allowed."""
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
