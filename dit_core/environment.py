"""Where a record was made. Records are compared only where the fingerprint is the same. Needs torch only for CUDA."""

import hashlib
import importlib.metadata
import json
import os
import platform
from pathlib import Path
from typing import Any

from dit_core import __version__

LIBRARIES = ("torch", "torchao", "diffusers")


def environment(device: str = "cpu", threads: int | None = None) -> dict[str, Any]:
    """Device, processor, versions and load. `fingerprint` hashes all that decides speed; load and this program's own
    version are not part of it."""
    decisive: dict[str, Any] = {
        "device": device,
        "cpu": cpu_name(),
        "threads": threads or len(os.sched_getaffinity(0)),
        "dtype": "float32",
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        **{name: importlib.metadata.version(name) for name in LIBRARIES},
    }
    if device == "cuda":
        decisive.update(_gpu())
    digest = hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:8]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        **decisive,
        "fingerprint": digest,
        "dit_core": __version__,
        "memory_bytes": memory,
        "load_average_1min": round(os.getloadavg()[0], 2),
    }


def cpu_name() -> str:
    """The processor's name and its vector instructions, which decide more than the name."""
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return platform.processor() or platform.machine()
    fields = dict(line.split(":", 1) for line in info.read_text().split("\n\n")[0].splitlines() if ":" in line)
    named = {key.strip(): value.strip() for key, value in fields.items()}
    flags = set(named.get("flags", "").split())
    widest = next((name for name in ("avx512_vnni", "avx_vnni", "avx512f", "avx2", "avx") if name in flags), "")
    return f"{named.get('model name', platform.machine())} ({widest})" if widest else named.get("model name", "unknown")


def _gpu() -> dict[str, Any]:
    import torch

    from dit_core.measure.nvml import Gpu, NoNvml

    properties = torch.cuda.get_device_properties(0)
    try:
        driver = Gpu().driver() or "unknown"
    except NoNvml:
        driver = "unknown"
    return {
        "gpu": properties.name,
        "gpu_memory_bytes": properties.total_memory,
        "cuda": torch.version.cuda,
        "driver": driver,
    }
