"""Kinds of values that a field of a record can have, each as a test and its description. Imports no torch."""

import sys
from collections.abc import Callable
from typing import Any, NamedTuple


class Kind(NamedTuple):
    """A test of a value that is not null, and a description of the values that pass it."""

    description: str
    accepts: Callable[[Any], bool]


def _number(value: Any) -> bool:
    """Return whether a value is a number that a finite float can hold."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _whole(value: Any) -> bool:
    return isinstance(value, int) and _number(value)


def list_of(kind: Kind) -> Kind:
    """Return the kind of lists whose items are all of `kind`."""
    return Kind(f"a list, each {kind.description}", lambda v: isinstance(v, list) and all(map(kind.accepts, v)))


def table_of(kind: Kind) -> Kind:
    """Return the kind of JSON objects whose values are all of `kind`."""

    def accepts(value: Any) -> bool:
        return isinstance(value, dict) and all(isinstance(k, str) and kind.accepts(v) for k, v in value.items())

    return Kind(f"a table, each value {kind.description}", accepts)


def _roofline(value: Any) -> bool:
    """Return whether a value maps names to device figures (null if unknown) and `bound` to what limits the run."""
    return isinstance(value, dict) and all(
        name == "bound" or figure is None or (_number(figure) and figure >= 0) for name, figure in value.items()
    )


def _routing(value: Any) -> bool:
    """Return whether a value has `tokens` by (layer, bucket, expert) and `balance` by (layer, bucket)."""
    if not isinstance(value, dict):
        return False
    tokens, balance = value.get("tokens", []), value.get("balance", [])
    if not _nested(tokens, 3, COUNT.accepts) or not _nested(balance, 2, lambda v: v is None or SHARE.accepts(v)):
        return False
    return not tokens or not balance or list(map(len, tokens)) == list(map(len, balance))


def _nested(value: Any, depth: int, accepts: Callable[[Any], bool]) -> bool:
    """Return whether a value is a list nested to `depth` whose innermost items are all accepted."""
    if not depth:
        return accepts(value)
    return isinstance(value, list) and all(_nested(item, depth - 1, accepts) for item in value)


TEXT = Kind("text", lambda v: isinstance(v, str) and bool(v))
NUMBER = Kind("a number", _number)
NOT_NEGATIVE = Kind("a number of at least 0", lambda v: _number(v) and v >= 0)
POSITIVE = Kind("a number above 0", lambda v: _number(v) and v > 0)
SHARE = Kind("a number from 0 to 1", lambda v: _number(v) and 0 <= v <= 1)
COUNT = Kind("a whole number of at least 0", lambda v: _whole(v) and v >= 0)
AT_LEAST_1 = Kind("a whole number of at least 1", lambda v: _whole(v) and v >= 1)
BOOLEAN = Kind("true or false", lambda v: isinstance(v, bool))
TABLE = Kind("a table", lambda v: isinstance(v, dict))
ROOFLINE = Kind("a table of numbers of at least 0 and a bound", _roofline)
ROUTING = Kind("tokens by layer, bucket and expert, with their balance", _routing)
SIMILARITY = Kind("a number from -1 to 1", lambda v: _number(v) and -1 <= v <= 1.000001)  # rounding in float32
INTERVAL = Kind(
    "a lower and an upper end",
    lambda v: isinstance(v, list) and len(v) == 2 and all(map(_number, v)) and v[0] <= v[1],
)
