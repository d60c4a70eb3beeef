"""Knobs: the options of a technique, as forms and the command line need them. Imports no torch.

A knob is a field of a technique's configuration dataclass. The metadata of the field (`field(metadata={...})`) has the
names of the attributes of `Knob`.
"""

import math
import re
import sys
import types
import typing
from dataclasses import MISSING, dataclass, field, fields
from typing import Any

from dit_core.errors import BadRequest

_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a word"}


@dataclass(frozen=True)
class Knob:
    """One option of a technique."""

    name: str
    kind: type  # bool, int, float or str
    default: Any
    help: str
    min: float | None = None
    max: float | None = None
    step: float | None = None
    choices: tuple[Any, ...] = ()
    suggestions: tuple[Any, ...] = ()  # values that a form offers if other values are also valid
    pattern: str = ""  # regular expression that a whole word must match
    pattern_help: str = ""  # the pattern in words, for error messages
    active_when: tuple[dict[str, tuple[Any, ...]], ...] = ()  # values of other knobs, any of which suffices; (): always
    omit_default: bool = False  # not written to a recipe at its default, because older run ids do not have the knob

    def inactive_reason(self, values: dict[str, Any]) -> str:
        """Return why the knob has no effect with these values of the other knobs; empty if it has an effect."""
        cases = self.active_when
        if not cases or any(all(values[name] in allowed for name, allowed in case.items()) for case in cases):
            return ""
        conditions = [" and ".join(f"{name} is {_either(allowed)}" for name, allowed in case.items()) for case in cases]
        return f"This has no effect now. It is used if {', or if '.join(conditions)}."

    def check(self, owner: str, value: Any) -> Any:
        """Return the value with the type of the knob. Raises BadRequest if its type is wrong or it is out of range.

        `owner` is the name of the technique, for the error message.
        """
        where = f"{owner}: {self.name}"
        if self.kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value) if abs(value) < sys.maxsize else math.inf  # out of every range
        if self.pattern and type(value) is int:
            value = str(value)
        if type(value) is not self.kind:
            raise BadRequest(f"{where} must be {_KINDS[self.kind]}, got {value!r}.")
        if self.choices and value not in self.choices:
            raise BadRequest(f"{where} must be one of {', '.join(map(str, self.choices))}, got {value!r}.")
        if self.pattern and not re.fullmatch(self.pattern, str(value)):
            raise BadRequest(f"{where} must be {self.pattern_help}, got {value!r}.")
        low, high = self.min, self.max
        if not self.choices and ((low is not None and not value >= low) or (high is not None and not value <= high)):
            raise BadRequest(f"{where} must be between {low} and {high}, got {value!r}.")
        return value

    def read(self, text: str) -> Any:
        """Convert a value typed on the command line to the type of the knob; text that does not convert stays text."""
        if self.kind is bool:
            return {"true": True, "false": False}.get(text.lower(), text)
        try:
            return self.kind(text)
        except ValueError:
            return text  # `check` refuses it with the name of the knob


def knobs_of(config: type) -> tuple[Knob, ...]:
    """Return the knobs of a configuration dataclass. Raises TypeError if a field has no default or a union type."""
    hints = typing.get_type_hints(config)
    knobs = []
    for f in fields(config):
        if f.default is MISSING:
            raise TypeError(f"{config.__name__}.{f.name} needs a default")
        kind = hints[f.name]
        if typing.get_origin(kind) in (typing.Union, types.UnionType):
            raise TypeError(f"{config.__name__}.{f.name} must have one plain type")
        knobs.append(Knob(f.name, kind, f.default, **f.metadata))
    return tuple(knobs)


def recover_knob() -> Any:
    """Return the field `recover` of a technique with recovery training (`dit_core.training.recovery`).

    Left out, it means none in every stored recipe; forms and the command line fill in `recipe.recover_by_default`.
    """
    return field(
        default="none",
        metadata={
            "help": "Recovery training after the change: none, bundled (trained weights that come with the project), "
            "or a number of steps to train now.",
            "suggestions": ("none", "bundled"),
            "pattern": r"none|bundled|[1-9]\d{0,6}",
            "pattern_help": "none, bundled or a number of training steps",
        },
    )


def layers_knob() -> Any:
    """Return the field `layers` of a technique that can change only some of the blocks."""
    return field(
        default="all",
        metadata={
            "help": "Blocks that change: all, the first half, the last half, or every second block.",
            "choices": ("all", "first-half", "last-half", "alternate"),
        },
    )


def _either(values: tuple[Any, ...]) -> str:
    *others, last = map(str, values)
    return f"{', '.join(others)} or {last}" if others else last
