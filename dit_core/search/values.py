"""Values of a knob for a sweep: which there are to choose from, which make a sensible start, and one that is typed."""

import math
from collections.abc import Sequence
from typing import Any, TypeVar

from dit_core.errors import BadRequest
from dit_core.techniques import Knob, checked

LISTED = 64  # whole numbers or steps of a range up to this are all offered
SPREAD = 12  # values that are offered of a longer range
FIRST = 5  # values that are chosen at first
WIDE = 64  # a range whose end is so many times its beginning is spread evenly in its logarithm
DIGITS = 10  # a step of 0.05 must not make 0.15000000000000002
NUMBERS = {int: "a whole number", float: "a number"}
SWITCH = {"yes": True, "true": True, "no": False, "false": False}
T = TypeVar("T")


def offered(knob: Knob, present: Any) -> list[Any]:
    """The values of a knob to choose from, the present one among them; numbers in order of size."""
    if knob.choices:
        return list(knob.choices)
    if knob.kind is bool:
        return [False, True]
    if knob.suggestions:
        return list(dict.fromkeys([*knob.suggestions, present]))
    if knob.min is None or knob.max is None:
        return [present]
    return sorted({*_range(knob), present})


def first(values: Sequence[T], present: T, most: int = FIRST) -> list[T]:
    """At most so many of these values, from one end to the other, the present one among them if it is there."""
    if len(values) <= most:
        return list(values)
    places = {round(i * (len(values) - 1) / (most - 1)) for i in range(most)}
    if present in values:
        own = values.index(present)
        within = places - {0, len(values) - 1}
        places = places if own in places else places - {min(within, key=lambda at: (abs(at - own), -at))} | {own}
    return [values[place] for place in sorted(places)]


def read(owner: str, knob: Knob, text: str) -> Any:
    """A typed value of a knob; raises BadRequest where it is of another kind or out of range."""
    text = text.strip()
    if knob.kind is bool:
        if text.lower() not in SWITCH:
            raise BadRequest(f"{owner}: {knob.name} must be yes or no, got {text!r}.")
        return SWITCH[text.lower()]
    if knob.kind is str:
        return checked(owner, knob, text)
    try:
        value = knob.kind(text)
    except ValueError:
        raise BadRequest(f"{owner}: {knob.name} must be {NUMBERS[knob.kind]}, got {text!r}.") from None
    return checked(owner, knob, value)


def _range(knob: Knob) -> list[Any]:
    """All whole numbers or steps between the ends of a knob's range, or some where there are many."""
    low, high = float(knob.min or 0), float(knob.max or 0)
    step = float(knob.step or (1 if knob.kind is int else 0))
    count = round((high - low) / step) + 1 if step else 0
    if 1 <= count <= LISTED:
        values = [low + i * step for i in range(count)]
    elif low > 0 and high >= WIDE * low:
        values = [math.exp(math.log(low) + i * math.log(high / low) / (SPREAD - 1)) for i in range(SPREAD)]
    else:
        values = [low + i * (high - low) / (SPREAD - 1) for i in range(SPREAD)]
    return [knob.kind(round(value) if knob.kind is int else round(value, DIGITS)) for value in values]
