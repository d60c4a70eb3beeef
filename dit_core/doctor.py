"""What this machine can run: devices, libraries, and each technique knob by knob. Loads torch only in `examine`."""

import importlib.metadata
import platform
from typing import Any

from dit_core import techniques
from dit_core.errors import BadRequest
from dit_core.models import catalog
from dit_core.techniques import Knob, Technique

LIBRARIES = ("torch", "torchao", "diffusers", "streamlit", "torchmetrics")


def examine() -> dict[str, Any]:
    """Findings as plain data: libraries, devices, models and, per technique and device, what it cannot do and why."""
    import torch

    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    return {
        "python": platform.python_version(),
        "libraries": {name: importlib.metadata.version(name) for name in LIBRARIES},
        "devices": devices,
        "no_cuda": None if "cuda" in devices else "torch finds no usable CUDA device: everything runs on the CPU.",
        "models": catalog.bundled(),
        "techniques": {
            name: {"title": found.title, **{device: limits(found, device) for device in devices}}
            for name, found in techniques.registry().items()
        },
    }


def limits(found: Technique, device: str) -> dict[str, str]:
    """`knob=value` -> reason, for every value of every knob that this device cannot run; empty where it can run all."""
    refused = {}
    for knob in found.knobs:
        for value in _values(knob):
            try:
                config = found.parse({knob.name: value})
            except BadRequest:
                continue  # impossible beside the defaults of the other knobs, on any device
            if reason := found.unavailable(config, device):
                refused[f"{knob.name}={value}"] = reason
    return refused


def report(findings: dict[str, Any]) -> str:
    """The findings for a person."""
    lines = [f"Python {findings['python']}, " + ", ".join(f"{k} {v}" for k, v in findings["libraries"].items())]
    lines.append(
        f"devices: {', '.join(findings['devices'])}" + (f" ({findings['no_cuda']})" if findings["no_cuda"] else "")
    )
    lines.append(f"models:  {', '.join(findings['models']) or 'none bundled'}")
    for name, found in findings["techniques"].items():
        for device in findings["devices"]:
            lines.append(f"{name} on {device}: " + ("all knobs" if not found[device] else "not everything"))
            lines += [f"    {what}: {why}" for what, why in found[device].items()]
    return "\n".join(lines)


def _values(knob: Knob) -> list[Any]:
    if knob.choices:
        return list(knob.choices)
    if knob.kind is bool:
        return [False, True]
    if knob.kind is int and knob.min is not None and knob.max is not None and knob.max - knob.min <= 64:
        return list(range(int(knob.min), int(knob.max) + 1))
    return [knob.default]
