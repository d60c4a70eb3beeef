"""Compare a record with a new measurement of the same run, field by field. Imports no torch.

Each field's tolerance is in its entry (`records.metrics`, `records.fields`); this module applies it.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dit_core.records import own_metrics, schema
from dit_core.records.metric import Field, Metric
from dit_core.records.own_metrics import OwnMetric
from dit_core.records.record import RunRecord
from dit_core.records.tolerance import Exact, NotCompared, Relative, Routed, Seeded, Timed, Tolerance

EXACT, SEEDED, MEASURED, NOT_COMPARED = "exact", "same seeds", "measured", "not compared"
# Times of one process say nothing about differences between processes, such as where memory lies: speed-ups of one
# recipe measured in two processes differed by about 4 %.
BETWEEN_PROCESSES = 0.04


@dataclass(frozen=True)
class Comparison:
    """A field of the record and of the rerun. `low` to `high` is the range that the rerun's value has to be in.

    Without a range, both values must be equal. `kind` is EXACT, SEEDED (determined by the seeds, up to rounding),
    MEASURED or NOT_COMPARED; `reason` says why a field is not compared.
    """

    field: str
    recorded: Any
    measured: Any
    low: float | None = None
    high: float | None = None
    kind: str = MEASURED
    reason: str = ""

    @property
    def compared(self) -> bool:
        return self.kind != NOT_COMPARED

    @property
    def ok(self) -> bool:
        if not self.compared:
            return True
        if self.recorded is None or self.measured is None or self.kind == EXACT:
            return self.recorded == self.measured
        low, high = (self.recorded if end is None else end for end in (self.low, self.high))
        return low <= self.measured <= high

    @property
    def allowed(self) -> str:
        """The values that the rerun may have, as text: `[990, 1010]`."""
        return "the recorded value" if self.low is None else f"[{short(self.low)}, {short(self.high)}]"


_MACHINE = "times are not compared, and the same seeds give images that differ by rounding"
_LIBRARY = "every figure may differ slightly"
# What the environment of a record says, its name in a sentence, and what depends on it.
ENVIRONMENT: dict[str, tuple[str, str]] = {
    "weights": ("weights of the model", "it is another network: quality, images and perhaps cost differ"),
    "training_images": ("training images", "the network learned from other images: quality differs"),
    "device": ("device", _MACHINE),
    "gpu": ("GPU", _MACHINE),
    "cpu": ("processor", _MACHINE),
    "threads": ("threads", _MACHINE),
    "system": ("system", _MACHINE),
    "dtype": ("precision", _LIBRARY),
    "torch": ("torch", _LIBRARY),
    "torchao": ("torchao", _LIBRARY),
    "diffusers": ("diffusers", _LIBRARY),
    "cuda": ("CUDA", _LIBRARY),
    "driver": ("driver", _LIBRARY),
    "python": ("Python", "times of small networks may differ slightly"),
    "dit_core": ("version of this program", "the change log says what changed"),
}


@dataclass(frozen=True)
class Difference:
    """A property in which the environments of a record and of its rerun differ, and what depends on it."""

    name: str
    recorded: str
    here: str
    matters: str

    def __str__(self) -> str:
        return f"other {self.name} ({self.recorded} in the record, {self.here} here): {self.matters}"


def differences(recorded: Mapping[str, Any], here: Mapping[str, Any]) -> list[Difference]:
    """Return how the environment of a record differs from another one, and which difference matters for what.

    A property that one of them does not know is left out.
    """
    return [
        Difference(title, str(recorded[name]), str(here[name]), matters)
        for name, (title, matters) in ENVIRONMENT.items()
        if None not in (recorded.get(name), here.get(name)) and recorded[name] != here[name]
    ]


def compare(recorded: RunRecord, measured: RunRecord) -> Iterator[Comparison]:
    """Yield a comparison for each known field that at least one of the records has."""
    for field in (*schema.ALL.values(), *own_metrics.of([recorded, measured])):
        present = [field.is_in(record) for record in (recorded, measured)]
        if field.section == "environment" or not any(present):
            continue
        if isinstance(field, OwnMetric) and all(present) and field.digest(recorded) != field.digest(measured):
            yield _not_compared(field, recorded, measured, "the file of the metric has another content")
        elif all(present):
            yield _RULES[type(field.tolerance)](field.tolerance, field, recorded, measured)
        else:
            yield _not_compared(field, recorded, measured, "one of the records is older than this field")


def short(value: Any) -> str:
    """Return a value as text of at most 40 letters, a number with six digits."""
    text = "unknown" if value is None else f"{value:.6g}" if isinstance(value, int | float) else str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def same_machine(recorded: RunRecord, measured: RunRecord) -> bool:
    """Return whether both were measured in the same environment."""
    return recorded.environment["fingerprint"] == measured.environment["fingerprint"]


def disturbance(record: RunRecord) -> str:
    """Return what else used the device while the run was timed; empty if nothing was noticed."""
    return str(record.latency.get("flag") or "")


def _not_compared(field: Field, recorded: RunRecord, measured: RunRecord, reason: str) -> Comparison:
    values = [field.stored(record) for record in (recorded, measured)]
    numbers = [value if isinstance(value, int | float) else None for value in values]
    return Comparison(field.path, *numbers, kind=NOT_COMPARED, reason=reason)


def _within(
    field: Field, recorded: RunRecord, measured: RunRecord, difference: float, kind: str = MEASURED
) -> Comparison:
    value = field.stored(recorded)
    low, high = (None, None) if value is None else (value - difference, value + difference)
    return Comparison(field.path, value, field.stored(measured), low, high, kind)


def _exact(rule: Exact, field: Field, recorded: RunRecord, measured: RunRecord) -> Comparison:
    return Comparison(field.path, field.stored(recorded), field.stored(measured), kind=EXACT)


def _excluded(rule: NotCompared, field: Field, recorded: RunRecord, measured: RunRecord) -> Comparison:
    return _not_compared(field, recorded, measured, rule.reason)


def _relative(rule: Relative, field: Field, recorded: RunRecord, measured: RunRecord) -> Comparison:
    return _within(field, recorded, measured, rule.share * abs(field.stored(recorded) or 0))


def _seeded(rule: Seeded, metric: Metric, recorded: RunRecord, measured: RunRecord) -> Comparison:
    value = metric.stored(recorded)
    if rule.optional and None in (value, metric.stored(measured)):
        return _not_compared(metric, recorded, measured, "one of the records does not have it")
    if metric.method(recorded) != metric.method(measured):
        return Comparison(metric.path, value, None, kind=SEEDED)
    if same_machine(recorded, measured):
        difference = rule.share * abs(value or 0) if rule.absolute is None else rule.absolute
        return _within(metric, recorded, measured, difference, SEEDED)
    half_widths = [metric.half_width(record) for record in (recorded, measured)]
    if value is not None and None in half_widths:
        return _not_compared(metric, recorded, measured, "another machine, and one of the records has no interval")
    return _within(metric, recorded, measured, math.hypot(*(half or 0 for half in half_widths)))


def _timed(rule: Timed, metric: Metric, recorded: RunRecord, measured: RunRecord) -> Comparison:
    if not same_machine(recorded, measured):
        return _not_compared(metric, recorded, measured, "another machine")
    disturbed = disturbance(recorded) or disturbance(measured)
    if disturbed and not rule.paired:
        return _not_compared(metric, recorded, measured, f"disturbed: {disturbed}")
    value, new = metric.stored(recorded), metric.stored(measured)
    if value is None or new is None:
        return Comparison(metric.path, value, new)
    (down, up), (new_down, new_up) = _spread(metric, recorded), _spread(metric, measured)
    single = sum(map(_has_one_process, (recorded, measured)))
    between = BETWEEN_PROCESSES * value * (single / 2) ** 0.5
    # Intervals of paired times are independent. Quartiles shift with other load on the machine, so they add.
    below, above = (
        (math.hypot(down, new_up), math.hypot(up, new_down)) if rule.paired else (down + new_up, up + new_down)
    )
    return Comparison(metric.path, value, new, value - below - between, value + above + between)


def _spread(metric: Metric, record: RunRecord) -> tuple[float, float]:
    """Return how far the interval reaches below and above the value."""
    value, ends = metric.stored(record), metric.interval(record)
    return (max(0.0, value - ends[0]), max(0.0, ends[1] - value)) if ends else (0.0, 0.0)


def _has_one_process(record: RunRecord) -> bool:
    """Return whether all times came from one process, so that intervals lack the difference between processes."""
    return len(record.speedup.get("process_ratios") or ()) < 2


def _routed(rule: Routed, field: Field, recorded: RunRecord, measured: RunRecord) -> Comparison:
    """Compare the share of tokens that went to other experts, over layers and timesteps."""
    tables = [(field.stored(record) or {}).get("tokens") for record in (recorded, measured)]
    counts = [None if table is None else list(_flat(table)) for table in tables]
    if None in counts or len(counts[0] or ()) != len(counts[1] or ()):
        same = counts[0] == counts[1]
        return Comparison(field.path, None if same else 0.0, None if same else 1.0, 0.0, 0.0, SEEDED)
    before, after = (table or [] for table in counts)
    moved = sum(abs(a - b) for a, b in zip(before, after, strict=True)) / 2 / max(1, sum(before))
    return Comparison(field.path, 0.0, moved, 0.0, rule.share, SEEDED)


def _flat(table: Any) -> Iterator[int]:
    for item in table:
        yield from _flat(item) if isinstance(item, list) else (item,)


_RULES: dict[type[Tolerance], Callable[[Any, Any, RunRecord, RunRecord], Comparison]] = {
    Exact: _exact,
    NotCompared: _excluded,
    Relative: _relative,
    Seeded: _seeded,
    Timed: _timed,
    Routed: _routed,
}
