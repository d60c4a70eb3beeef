"""`Field` and `Metric`: what is known about a value of a record, and how to read it. Imports no torch.

The entries are in `metrics` and `fields`.
"""

import statistics
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from dit_core.records.kinds import Kind
from dit_core.records.tolerance import NotCompared, Tolerance

if TYPE_CHECKING:
    from dit_core.records.record import RunRecord

Ends = tuple[float, float]
Direction = Literal["higher", "lower"]
AxisGroup = Literal["time", "memory", "quality", "fidelity"]
TileRuns = Literal["all", "candidates", "baselines"]
Z95 = 1.96


@dataclass(frozen=True, kw_only=True)
class Field:
    """One value of a section of a record.

    Every record has the `required` fields; older records may lack the others. `kind` is None for a field whose kind
    follows from the unit in its name. `tolerance` says how a rerun is compared.
    """

    section: str
    name: str
    kind: Kind | None = None
    required: bool = False
    tolerance: Tolerance

    @property
    def path(self) -> str:
        """`section.name`, which identifies a field in messages and rules."""
        return f"{self.section}.{self.name}"

    def stored(self, record: "RunRecord") -> Any:
        """Return the value as the record has it; None if it is null or missing."""
        return getattr(record, self.section).get(self.name)

    def is_in(self, record: "RunRecord") -> bool:
        """Return whether the record has this field, even as null."""
        return self.name in getattr(record, self.section)

    def reason(self, record: "RunRecord") -> str:
        """Return why the value is unknown: the reason of this field, or that of its section; empty if none is given."""
        section = getattr(record, self.section)
        return str((section.get("reasons") or {}).get(self.name) or section.get("reason") or "")


IntervalReader = Callable[["Metric", "RunRecord"], Ends | None]


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """Where a record holds the same metric of its own baseline: section, name and its intervals."""

    section: str
    name: str
    required: bool = True
    intervals: tuple[IntervalReader, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Metric(Field):
    """A number that compares runs, with everything that plots, tables, checks and reruns need to know about it.

    `read` and `interval` use stored units; `scaled` and `scaled_interval` multiply by `scale`, which gives `unit`.
    """

    title: str  # on axes: `Distance to real images`
    short_title: str = ""  # on tiles: `Distance`; the title if empty
    help: str = ""
    unit: str = ""
    scale: float = 1.0
    better: Direction | None = None
    # Name of the axis in page addresses; the field's name if empty.
    key: str = ""
    # Readers of the interval, tried in order, and what they return.
    intervals: tuple[IntervalReader, ...] = ()
    interval_title: str = ""
    # The field with the name of the measuring method: values under different names are not comparable.
    method_field: str = ""
    # Before the method's name in an axis title; if empty, the method's name is the title.
    method_prefix: str = ""
    flag_field: str = "flag"
    # Computes the value if it is not simply stored. `recorded` is False for a metric that no record stores.
    compute: Callable[["RunRecord"], float | None] | None = None
    recorded: bool = True
    baseline: Baseline | None = None
    companions: tuple[Field, ...] = ()
    axis: AxisGroup | None = None
    # Runs whose page shows the metric as a tile: a comparison with the baseline is for candidates only.
    tile: TileRuns | None = None
    # Name of its limit in the address of the Pareto page; it cannot be limited if empty.
    limit_key: str = ""
    # Heading in the table of runs and in its CSV, and the number format there; no column if empty.
    column: str = ""
    column_format: str = "%.3g"
    # Headings of the columns with the ends of the interval.
    interval_columns: tuple[str, str] | None = None
    # What to know before two values are compared.
    caution: str = ""

    @property
    def axis_key(self) -> str:
        return self.key or self.name

    @property
    def tile_title(self) -> str:
        return self.short_title or self.title

    def read(self, record: "RunRecord") -> float | None:
        """Return the value in stored units; None if unknown."""
        return self.compute(record) if self.compute else self.stored(record)

    def interval(self, record: "RunRecord") -> Ends | None:
        """Return the lower and upper end of the interval in stored units; None if unknown."""
        return next((ends for reader in self.intervals if (ends := reader(self, record))), None)

    def scaled(self, record: "RunRecord") -> float | None:
        """Return the value in `unit`; None if unknown."""
        value = self.read(record)
        return None if value is None else self.scale * value

    def scaled_interval(self, record: "RunRecord") -> Ends | None:
        """Return the ends of the interval in `unit`; None if unknown."""
        ends = self.interval(record)
        return (self.scale * ends[0], self.scale * ends[1]) if ends else None

    def half_width(self, record: "RunRecord") -> float | None:
        """Return half the width of the interval in stored units; None if unknown."""
        ends = self.interval(record)
        return (ends[1] - ends[0]) / 2 if ends else None

    def method(self, record: "RunRecord") -> str | None:
        """Return the name of the measuring method; None if the metric has a single method or was not measured."""
        return getattr(record, self.section).get(self.method_field) if self.method_field else None

    def basis(self, record: "RunRecord") -> str:
        """Return N and the reference, as `1,000 images, reference emoji train, 2160 images, 74bc6bef`.

        Empty if the metric has a single method or was not measured.
        """
        method, quality = self.method(record) or "", record.quality
        if not method:
            return ""
        stated, described = method.rpartition("reference ")[2], str(quality.get("reference") or "")
        sets = f"{quality['replicates']} sets of " if (quality.get("replicates") or 1) > 1 else ""
        return f"{sets}{quality['count']:,} images, reference {described if stated in described else stated}"

    def explained(self, record: "RunRecord") -> str:
        """Return what the metric is, and the images of this record that it was computed from, as sentences."""
        return " ".join(filter(None, (self.help, f"{basis}." if (basis := self.basis(record)) else "")))

    def flag(self, record: "RunRecord") -> str:
        """Return the record's warning about this metric; empty if there is none."""
        return str(getattr(record, self.section).get(self.flag_field) or "")

    def comparable(self, record: "RunRecord", other: "RunRecord") -> bool:
        """Return whether both records have a value, measured by the same method."""
        known = self.read(record) is not None and self.read(other) is not None
        return known and self.method(record) == self.method(other)

    def title_with(self, method: str) -> str:
        """Return the axis title for one measuring method."""
        if not self.method_field:
            return self.title
        return f"{self.method_prefix} {method.partition(' ')[2]}" if self.method_prefix else method

    def of_baseline(self) -> "Metric | None":
        """Return the metric that reads the baseline's value from a candidate's record; None if records have none."""
        if self.baseline is None:
            return None
        return replace(
            self,
            section=self.baseline.section,
            name=self.baseline.name,
            required=self.baseline.required,
            intervals=self.baseline.intervals,
            compute=None,
            baseline=None,
            companions=(),
        )

    def read_baseline(self, record: "RunRecord") -> float | None:
        """Return the baseline's value in a candidate's record; None if it is unknown or not kept."""
        side = self.of_baseline()
        return side.read(record) if side else None

    def is_better(self, value: float, other: float) -> bool:
        """Return whether `value` is better than `other`; False for a metric without a direction."""
        return value < other if self.better == "lower" else value > other if self.better == "higher" else False


def named_interval(metric: Metric, record: "RunRecord") -> Ends | None:
    """Return the entry of the section's `intervals`."""
    ends = (getattr(record, metric.section).get("intervals") or {}).get(metric.name)
    return (ends[0], ends[1]) if ends else None


def interval_fields(low: str, high: str) -> IntervalReader:
    """Return a reader of two fields of the metric's section."""

    def read(metric: Metric, record: "RunRecord") -> Ends | None:
        section = getattr(record, metric.section)
        ends = section.get(low), section.get(high)
        return None if ends[0] is None or ends[1] is None else (ends[0], ends[1])

    return read


def standard_error(name: str) -> IntervalReader:
    """Return a reader that builds the interval from the field with the standard error."""

    def read(metric: Metric, record: "RunRecord") -> Ends | None:
        value, error = metric.read(record), getattr(record, metric.section).get(name)
        return None if value is None or error is None else (value - Z95 * error, value + Z95 * error)

    return read


def binomial(metric: Metric, record: "RunRecord") -> Ends | None:
    """Return the normal approximation for a share of independent images, for records without a stored interval."""
    share, quality = metric.read(record), record.quality
    count = quality["count"] * (quality.get("replicates") or 1)
    if share is None or not count:
        return None
    half = Z95 * (share * (1 - share) / count) ** 0.5
    return share - half, share + half


def quartiles(section: str, name: str) -> IntervalReader:
    """Return a reader of the quartiles of the raw times in a field."""

    def read(metric: Metric, record: "RunRecord") -> Ends | None:
        raw = getattr(record, section).get(name) or ()
        if len(raw) < 2:
            return None
        low, _, high = statistics.quantiles(raw, n=4)
        return low, high

    return read


def apart(ends: Ends | None, other: Ends | None) -> bool:
    """Return whether two intervals are known and do not overlap."""
    return ends is not None and other is not None and (ends[0] > other[1] or other[0] > ends[1])


PART_OF_INTERVAL = NotCompared("it belongs to an interval, and the figure itself is compared")
