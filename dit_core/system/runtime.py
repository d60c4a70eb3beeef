"""Settings of the process that affect measurements."""

import ctypes

import torch

from dit_core.system import devices
from dit_core.system.hardware import usable_cores

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def keep_freed_memory() -> None:
    """Let glibc reuse freed blocks instead of returning them to the kernel.

    Otherwise activations of a few megabytes are mapped and unmapped by every operator, and in small networks the page
    faults cost as much as the arithmetic. Does nothing if the C library has no `mallopt`.
    """
    try:
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(_M_MMAP_THRESHOLD, 2**31 - 1)
        libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
    except (OSError, AttributeError):
        return


def set_up(device: str, threads: int | None = None) -> torch.device:
    """Set the number of threads and return the device. Raises BadRequest if this machine does not have it."""
    keep_freed_memory()
    torch.set_num_threads(threads or usable_cores())
    return devices.select(device)


def bfloat16_is_fast() -> bool:
    """Whether this processor has instructions for bfloat16 products; emulating them is very slow."""
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
