"""Values of a knob for a sweep: the values to offer, a first selection, and the parsing of a typed value."""

import math
from collections.abc import Sequence
from typing import Any, TypeVar

from dit_core.errors import BadRequest
from dit_core.recipes.knobs import Knob

LISTED = 64  # a range with at most so many values is offered in full
SPREAD = 12  # number of offered values of a longer range
FIRST = 5  # number of values that are selected at first
WIDE = 64  # ratio of the ends of a range from which values are spaced evenly in the logarithm
DIGITS = 10  # rounds 0.15000000000000002 to 0.15
NUMBERS = {int: "a whole number", float: "a number"}
SWITCH = {"yes": True, "true": True, "no": False, "false": False}
T = TypeVar("T")


def offered(knob: Knob, present: Any) -> list[Any]:
    """Return the values of a knob to choose from, including the `present` one; numbers in ascending order."""
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
    """Return at most `most` of these values, spread over all of them and including `present` if it is one of them."""
    if len(values) <= most:
        return list(values)
    places = {round(i * (len(values) - 1) / (most - 1)) for i in range(most)}
    if present in values:
        own = values.index(present)
        within = places - {0, len(values) - 1}
        places = places if own in places else places - {min(within, key=lambda at: (abs(at - own), -at))} | {own}
    return [values[place] for place in sorted(places)]


def read(owner: str, knob: Knob, text: str) -> Any:
    """Return the value of a knob from typed text. Raises BadRequest if its type is wrong or it is out of range."""
    text = text.strip()
    if knob.kind is bool:
        if text.lower() not in SWITCH:
            raise BadRequest(f"{owner}: {knob.name} must be yes or no, got {text!r}.")
        return SWITCH[text.lower()]
    if knob.kind is str:
        return knob.check(owner, text)
    try:
        value = knob.kind(text)
    except ValueError:
        raise BadRequest(f"{owner}: {knob.name} must be {NUMBERS[knob.kind]}, got {text!r}.") from None
    return knob.check(owner, value)


def _range(knob: Knob) -> list[Any]:
    """Return all values of a knob's range, or `SPREAD` of them if there are more than `LISTED`."""
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
