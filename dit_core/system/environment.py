"""The environment of a record; records are compared within one fingerprint. Needs torch only for a GPU."""

import hashlib
import importlib.metadata
import json
import platform
import re
from typing import Any

from dit_core.system import devices, hardware
from dit_core.version import __version__

LIBRARIES = ("torch", "torchao", "diffusers")
VECTORS = ("avx512_vnni", "avx_vnni", "avx512f", "avx2", "avx")  # vector instructions, the fastest first
MODEL = ("cpu family", "model", "stepping")  # fields of a processor that tell its generation


def environment(device: str = "cpu", threads: int | None = None) -> dict[str, Any]:
    """Device, processor, versions and load. `fingerprint` is a hash of what determines speed; the load and the version
    of this program are not part of it.
    """
    decisive: dict[str, Any] = {
        "device": devices.kind(device),
        "cpu": cpu_name(),
        "threads": threads or hardware.usable_cores(),
        "dtype": devices.default_precision(device),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        **{name: version(name) for name in LIBRARIES},
    }
    if devices.kind(device) != "cpu":
        decisive.update(_gpu(device))
    digest = hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:8]
    return {
        **decisive,
        "device": device,
        "fingerprint": digest,
        "dit_core": __version__,
        "memory_bytes": hardware.memory_bytes(),
        "load_average_1min": round(hardware.load_average(), 2),
    }


def version(library: str) -> str:
    """Return the version of an installed library, or that it is not installed."""
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def cpu_name() -> str:
    """Name of the processor with its fastest instructions, which affect speed more than the name.

    A virtual machine often names no model, as in "Intel(R) Xeon(R) Processor @ 2.50GHz", and generations of different
    speed share the name. Then family, model and stepping follow it: "Intel(R) Xeon(R) Processor 6-207-2 (avx512_vnni)".
    """
    fields, name = hardware.processor_fields(), hardware.processor_name()
    flags = set(fields.get("flags", "").split())
    fastest = [*[name for name in VECTORS if name in flags][:1], *(["amx"] if "amx_int8" in flags else [])]
    if all(field in fields for field in MODEL) and not re.search(r"\d", name.partition("@")[0]):
        name += f" {'-'.join(fields[field] for field in MODEL)}"
    return f"{name} ({', '.join(fastest)})" if fastest else name


def _gpu(device: str) -> dict[str, Any]:
    import torch

    from dit_core.system.nvml import Gpu, NoNvml

    properties = devices.of_torch(device)
    if devices.kind(device) != "cuda":
        return {"gpu": properties.name, "gpu_memory_bytes": properties.memory_bytes}
    try:
        driver = Gpu(device).driver() or "unknown"
    except NoNvml:
        driver = "unknown"
    return {
        "gpu": properties.name,
        "gpu_memory_bytes": properties.memory_bytes,
        "cuda": torch.version.cuda,
        "driver": driver,
    }
