"""Readable names of recipes, for the files of records and recovered weights. Imports no torch."""

from collections.abc import Iterable
from typing import Any

from dit_core.errors import BadRequest
from dit_core.recipes import registry

BASELINE = "baseline"


def file_name(recipe: Iterable[dict[str, Any]], leave_out: tuple[str, ...] = ()) -> str:
    """Return a recipe as a part of a file name: `depth_pruning-keep6+quantization-bits4`; `baseline` if it is empty.

    Only knobs that are not at their default are named, without those in `leave_out`.
    """
    return "+".join(_technique(entry, leave_out) for entry in recipe) or BASELINE


def _technique(entry: dict[str, Any], leave_out: tuple[str, ...]) -> str:
    try:
        defaults = {knob.name: knob.default for knob in registry.get(entry["name"]).knobs}
    except BadRequest:  # a technique of another version
        defaults = {}
    knobs = {name: value for name, value in entry.items() if name not in ("name", *leave_out)}
    return "-".join(
        [entry["name"], *(_knob(name, value) for name, value in knobs.items() if value != defaults.get(name))]
    )


def _knob(name: str, value: Any) -> str:
    """`keep6` for a number, `method_gptq` for a word, `recovered` for bundled weights."""
    if (name, value) == ("recover", "bundled"):
        return "recovered"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return f"{name}_{str(value).lower()}"
    return f"{name}{value:g}"
