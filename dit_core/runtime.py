"""Process-wide settings that a measurement depends on."""

import ctypes
import os

import torch

from dit_core.errors import BadRequest

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def keep_freed_memory() -> None:
    """Let glibc reuse freed blocks instead of giving them back to the kernel.

    Activations of a few megabytes are otherwise mapped and unmapped at every operator; on small networks the page
    faults cost as much as the arithmetic. A no-op where the C library has no `mallopt`.
    """
    try:
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(_M_MMAP_THRESHOLD, 2**31 - 1)
        libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
    except (OSError, AttributeError):
        return


def set_up(device: str, threads: int | None = None) -> torch.device:
    """Fix the number of threads and check the device; raises BadRequest where it is not there."""
    keep_freed_memory()
    torch.set_num_threads(threads or len(os.sched_getaffinity(0)))
    if device == "cuda" and not torch.cuda.is_available():
        raise BadRequest("This machine has no usable CUDA device: use --device cpu.")
    return torch.device(device)


def bfloat16_is_fast() -> bool:
    """Whether this processor multiplies bfloat16 in its own units; elsewhere it is emulated, and very slow."""
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
