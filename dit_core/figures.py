"""What the sections of a record hold: every figure's name and what kind of value it is. Imports no torch.

Names carry units: `_s` seconds, `_bytes`, `_j` joules, `_db` decibels, `_per_s`. Every record has the `REQUIRED` ones.
The `OPTIONAL` ones came later: an older record may lack them, a new one holds each, or null with a reason. Any other
figure whose name ends in a unit is a number too.
"""

import sys
from collections.abc import Callable
from typing import Any, NamedTuple


class Kind(NamedTuple):
    """A test of a value that is not null, and what it must be, in words."""

    words: str
    holds: Callable[[Any], bool]


def _number(value: Any) -> bool:
    """Finite, and no whole number that is too large for a float."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _whole(value: Any) -> bool:
    return isinstance(value, int) and _number(value)


def _list_of(kind: Kind) -> Kind:
    return Kind(f"a list, each {kind.words}", lambda v: isinstance(v, list) and all(map(kind.holds, v)))


def _table_of(kind: Kind) -> Kind:
    def holds(value: Any) -> bool:
        return isinstance(value, dict) and all(isinstance(k, str) and kind.holds(v) for k, v in value.items())

    return Kind(f"a table, each value {kind.words}", holds)


def _roofline(value: Any) -> bool:
    """Figures of a device by name, some unknown, and what bounds the run."""
    return isinstance(value, dict) and all(
        name == "bound" or held is None or (_number(held) and held >= 0) for name, held in value.items()
    )


def _routing(value: Any) -> bool:
    """Tokens by layer, bucket and expert, and their balance by layer and bucket."""
    if not isinstance(value, dict):
        return False
    tokens, balance = value.get("tokens", []), value.get("balance", [])
    if not _nested(tokens, 3, COUNT.holds) or not _nested(balance, 2, lambda one: one is None or SHARE.holds(one)):
        return False
    return not tokens or not balance or list(map(len, tokens)) == list(map(len, balance))


def _nested(value: Any, depth: int, holds: Callable[[Any], bool]) -> bool:
    """Whether lists in lists, so deep, end in values that hold."""
    if not depth:
        return holds(value)
    return isinstance(value, list) and all(_nested(one, depth - 1, holds) for one in value)


TEXT = Kind("text", lambda v: isinstance(v, str) and bool(v))
NUMBER = Kind("a number", _number)
NOT_NEGATIVE = Kind("a number of at least 0", lambda v: _number(v) and v >= 0)
POSITIVE = Kind("a number above 0", lambda v: _number(v) and v > 0)
SHARE = Kind("a number from 0 to 1", lambda v: _number(v) and 0 <= v <= 1)
COUNT = Kind("a whole number of at least 0", lambda v: _whole(v) and v >= 0)
AT_LEAST_1 = Kind("a whole number of at least 1", lambda v: _whole(v) and v >= 1)
TRUTH = Kind("true or false", lambda v: isinstance(v, bool))
TABLE = Kind("a table", lambda v: isinstance(v, dict))
ROOFLINE = Kind("a table of numbers of at least 0 and a bound", _roofline)
ROUTING = Kind("tokens by layer, bucket and expert, with their balance", _routing)
SIMILARITY = Kind("a number from -1 to 1", lambda v: _number(v) and -1 <= v <= 1.000001)  # rounding in float32
ENDS = Kind(
    "a lower and an upper end",
    lambda v: isinstance(v, list) and len(v) == 2 and all(map(_number, v)) and v[0] <= v[1],
)

REQUIRED: dict[str, dict[str, Kind]] = {
    "environment": {
        "device": TEXT,
        "cpu": TEXT,
        "threads": AT_LEAST_1,
        "dtype": TEXT,
        "torch": TEXT,
        "python": TEXT,
        "fingerprint": TEXT,
    },
    "latency": {
        "load_s": NOT_NEGATIVE,
        "first_call_s": POSITIVE,
        "latency_s": POSITIVE,
        "calls": AT_LEAST_1,
        "batch_size": AT_LEAST_1,
        "throughput_images_per_s": POSITIVE,
        "raw_s": _list_of(POSITIVE),
    },
    "memory": {
        "weight_bytes": COUNT,
        "baseline_weight_bytes": COUNT,
        "peak_memory_bytes": COUNT,
        "peak_kind": TEXT,
    },
    "flops": {
        "macs": COUNT,
        "flops": COUNT,
        "baseline_macs": COUNT,
        "baseline_flops": COUNT,
        "uncounted": _table_of(AT_LEAST_1),
    },
    "energy": {"energy_j": POSITIVE},
    "quality": {"metric": TEXT, "distance": NOT_NEGATIVE, "kid": NUMBER, "count": COUNT, "reference": TEXT},
    "fidelity": {"psnr_db": NUMBER, "ssim": SIMILARITY, "count": COUNT},
    "speedup": {
        "ratio": POSITIVE,
        "low": POSITIVE,
        "high": POSITIVE,
        "confidence": SHARE,
        "blocks": AT_LEAST_1,
        "baseline_latency_s": POSITIVE,
    },
    "samples": {
        "sheet": TEXT,
        "baseline_sheet": TEXT,
        "tile": AT_LEAST_1,
        "columns": AT_LEAST_1,
        "labels": _list_of(TEXT),
        "seeds": _list_of(COUNT),
    },
}

OPTIONAL: dict[str, dict[str, Kind]] = {
    "latency": {
        "latency_p25_s": POSITIVE,
        "latency_p75_s": POSITIVE,
        "warmup_calls": COUNT,
        "time_shares": _table_of(SHARE),
        "processes": AT_LEAST_1,
        "process_calls": _list_of(AT_LEAST_1),
        "process_turns": _list_of(AT_LEAST_1),
        "turn_calls": AT_LEAST_1,
        "warmed_up": TRUTH,
        "processor_share": SHARE,
        "machine": _list_of(TABLE),
    },
    "flops": {
        "int8_ops": COUNT,
        "moved_bytes": COUNT,
        "baseline_moved_bytes": COUNT,
        "arithmetic_intensity_flop_per_byte": NOT_NEGATIVE,
        "roofline": ROOFLINE,
        "routing": ROUTING,
        "experts": _table_of(POSITIVE),
    },
    "energy": {"baseline_energy_j": POSITIVE},
    "speedup": {
        "baseline_time_shares": _table_of(SHARE),
        "explanation": TEXT,
        "process_ratios": _list_of(POSITIVE),
        "baseline_process_calls": _list_of(AT_LEAST_1),
        "baseline_turn_calls": AT_LEAST_1,
    },
    "quality": {
        "low": NUMBER,
        "high": NUMBER,
        "kid_standard_error": NOT_NEGATIVE,
        "distance_infinity": NUMBER,
        "spatial_metric": TEXT,
        "spatial_distance": NOT_NEGATIVE,
        "precision": SHARE,
        "recall": SHARE,
        "classifier_score": POSITIVE,
        "class_accuracy": SHARE,
        "class_accuracy_by_class": _table_of(SHARE),
        "class_accuracy_held_out": SHARE,
        "fid_metric": TEXT,
        "fid": NOT_NEGATIVE,
        "sfid": NOT_NEGATIVE,
        "inception_score": POSITIVE,
        "inception_score_spread": NOT_NEGATIVE,
        "interval": TEXT,
        "intervals": _table_of(ENDS),
        "interval_method": _table_of(TEXT),
        "extractor": TEXT,
        "replicates": AT_LEAST_1,
        "not_finite_images": COUNT,
    },
    "fidelity": {
        "not_finite_images": COUNT,
        "feature_cosine": SIMILARITY,
        "feature_extractor": TEXT,
        "intervals": _table_of(ENDS),
        "interval_method": _table_of(TEXT),
    },
    "samples": {"indices": _list_of(COUNT)},
}

_UNITS = ("_s", "_bytes", "_j", "_db", "_w", "_hz")


def problem(data: dict[str, Any]) -> str:
    """The first thing wrong with a record's sections, in one line; empty where nothing is."""
    for section, kinds in REQUIRED.items():
        held = data[section]
        if not isinstance(held, dict):
            return f"{section} must be a JSON object"
        for name in kinds:
            if name not in held:
                return f"{section}.{name} is missing"
        named = {**kinds, **OPTIONAL.get(section, {})}
        for name, value in held.items():
            if value is None and name in named and not _reason(held, name):
                return f"{section}.{name} is null without a reason"
            kind = named.get(name) or (_unit_kind(name, value) if name.endswith(_UNITS) else None)
            if value is not None and kind and not kind.holds(value):
                return f"{section}.{name} must be {kind.words}, got {_short(value)}"
    low, high = data["speedup"]["low"], data["speedup"]["high"]
    return "" if low is None or high is None or low <= high else "speedup.low is above speedup.high"


def _reason(section: dict[str, Any], name: str) -> str:
    """Why a figure is null: `reasons` has a line for one figure, `reason` one for the whole section."""
    reasons = section.get("reasons")
    return (reasons.get(name) if isinstance(reasons, dict) else None) or section.get("reason") or ""


def _unit_kind(name: str, value: Any) -> Kind:
    """Of a figure that is not in the tables: seconds, bytes and the like are never negative, decibels can be."""
    one = NUMBER if name.endswith("_db") else NOT_NEGATIVE
    return _list_of(one) if isinstance(value, list) else _table_of(one) if isinstance(value, dict) else one


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
