"""What this machine can run: devices, libraries, the knobs of each technique, and the bundled recovered weights.

Imports no torch, apart from what `examine` asks another process.
"""

import json
import platform
from dataclasses import asdict, dataclass
from typing import Any

from dit_core.errors import BadRequest
from dit_core.models import recovered, sources
from dit_core.quality.judgement import inception_problem
from dit_core.recipes import registry as techniques
from dit_core.recipes.knobs import Knob
from dit_core.recipes.registry import Technique
from dit_core.system import causes, devices
from dit_core.system.environment import version

LIBRARIES = ("torch", "torchao", "diffusers", "streamlit", "torchmetrics")
MOST_VALUES = 65  # of a knob that are all tried; of a knob with more values only the default is


@dataclass(frozen=True)
class BundledSetting:
    """A recipe with bundled recovered weights. `technique` is its last one, `setting` its knobs on one line."""

    model: str
    technique: str
    setting: str
    recipe: tuple[dict[str, Any], ...]
    steps: int  # of the recovery training
    file_bytes: int


def examine() -> dict[str, Any]:
    """Return what this machine can run, as plain data, and for each technique and device what cannot run and why."""
    devices.learn()
    usable = [device.id for device in devices.usable()]
    return {
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in LIBRARIES},
        "devices": [asdict(device) for device in devices.found()],
        "default_device": devices.default(),
        "default_precision": devices.default_precision(devices.default()),
        "models": [{"name": name, "needs": _needs(name)} for name in sources.names()],
        "no_fid": inception_problem() or None,
        "techniques": {
            name: {
                "title": technique.title,
                "summary": technique.summary,
                "knobs": [_described(knob) for knob in technique.knobs],
                "limits": {device: limits(technique, device) for device in usable},
            }
            for name, technique in techniques.registry().items()
        },
        "recovered": [asdict(setting) for setting in bundled_settings()],
    }


def limits(technique: Technique, device: str) -> dict[str, str]:
    """Return what a device cannot run: `knob=value` -> reason, for every value of every knob."""
    reasons = {}
    for knob in technique.knobs:
        for value in _values(knob):
            config = _with_value(technique, knob, value)
            if config and (reason := technique.unsupported(config, device)):
                reasons[f"{knob.name}={value}"] = reason
    return reasons


def _with_value(technique: Technique, knob: Knob, value: Any) -> Any:
    """Return a configuration with this value, if need be with another value of one other knob; None if none exists."""
    others = ({other.name: choice} for other in technique.knobs if other is not knob for choice in _values(other))
    for further in ({}, *others):
        try:
            return technique.parse({**further, knob.name: value})
        except BadRequest:
            continue
    return None


def _described(knob: Knob) -> dict[str, Any]:
    """Return a knob as plain data."""
    limits = {"min": knob.min, "max": knob.max} if not knob.choices else {}
    return {
        "name": knob.name,
        "type": knob.kind.__name__,
        "default": knob.default,
        **limits,
        "choices": list(knob.choices),
        "pattern": knob.pattern_help,
        "help": knob.help,
    }


def _needs(model: str) -> list[str]:
    """Return what a model still needs before a run is judged, as clauses; empty if nothing is missing."""
    source = sources.find(model)
    download = ["the first load downloads it"] if source.needs_download else []
    missing = [each for each in (source.reference_images, source.training_images) if isinstance(each, sources.Missing)]
    return list(dict.fromkeys([*download, *(each.reason for each in missing)]))


def bundled_settings() -> list[BundledSetting]:
    """Return all settings with bundled recovered weights, by model and technique.

    Raises BadRequest if a file is damaged.
    """
    settings = []
    for model in sources.bundled_names():
        for file in recovered.files(model).values():
            header = recovered.header(file)
            recipe = tuple(json.loads(header["recipe"]))
            technique = recipe[-1]["name"]
            setting, size = recovered.words(recipe, technique), file.stat().st_size
            settings.append(BundledSetting(model, technique, setting, recipe, recovered.steps(header), size))
    return sorted(settings, key=lambda setting: (setting.model, setting.technique, setting.setting))


def report(findings: dict[str, Any]) -> str:
    """Return the findings of `examine` as text."""
    lines = [f"Python {findings['python']}, " + ", ".join(f"{k} {v}" for k, v in findings["libraries"].items())]
    lines += ["devices:", *(f"    {_device_line(device, findings)}" for device in findings["devices"])]
    lines.append("models:")
    lines += [f"    {model['name']}" + "".join(f"; {need}" for need in model["needs"]) for model in findings["models"]]
    lines.append(f"FID: {findings['no_fid'] or 'available'}")
    for name, technique in findings["techniques"].items():
        lines.append(f"{name}: {technique['summary']}")
        lines += [f"    {_knob_line(knob)}" for knob in technique["knobs"]]
        for device, limited in technique["limits"].items():
            lines += [f"    not on {device}: {setting}: {reason}" for setting, reason in limited.items()]
    count = len(findings["recovered"])
    lines.append(f"bundled recovered weights: {count} setting{'s' * (count != 1)}")
    for each in findings["recovered"]:
        lines.append(f"    {each['model']}: {each['setting']} ({each['steps']:,} steps)")
    return "\n".join(lines)


def _device_line(device: dict[str, Any], findings: dict[str, Any]) -> str:
    memory = f", {causes.size(device['memory_bytes'])}" if device["memory_bytes"] else ""
    precision = findings["default_precision"]
    default = f", the default, in {precision}" if device["id"] == findings["default_device"] else ""
    reason = f": {device['reason']}" if device["reason"] else ""
    return f"{device['id']} {device['name']}{memory}{default}{reason}"


def _knob_line(knob: dict[str, Any]) -> str:
    """Return a knob in words: `bits: int, 2 to 8, default 8`."""
    ends = (knob.get("min"), knob.get("max"))
    span = f", {ends[0]} to {ends[1]}" if None not in ends else ""
    values = f", one of {', '.join(map(str, knob['choices']))}" if knob["choices"] else span
    return f"{knob['name']}: {knob['type']}{values}, default {knob['default']}"


def _values(knob: Knob) -> list[Any]:
    if knob.choices:
        return list(knob.choices)
    if knob.kind is bool:
        return [False, True]
    if knob.kind is int and knob.min is not None and knob.max is not None and knob.max - knob.min < MOST_VALUES:
        return list(range(int(knob.min), int(knob.max) + 1))
    return [knob.default]
