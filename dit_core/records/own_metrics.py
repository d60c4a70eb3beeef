"""Metrics from users' files, as entries like those of the table of metrics. Imports no torch and runs no user's code.

A record keeps them in `quality.own`, by name: title, unit, direction, help, the hash of the file's content, and the
value with both ends of its 95 % interval, or null with the reason. So every page can show them without the file.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dit_core.records import metrics
from dit_core.records.kinds import INTERVAL, NUMBER, TEXT, Kind
from dit_core.records.metric import Ends, Field, Metric
from dit_core.records.tolerance import NotCompared, Seeded

if TYPE_CHECKING:
    from dit_core.records.record import RunRecord

SECTION, NAME = "quality", "own"
DIRECTIONS = ("higher", "lower")
INTERVAL_TITLE = "the 95 % interval that the metric's file gives"


@dataclass(frozen=True, kw_only=True)
class OwnMetric(Metric):
    """A metric of a user's file. Values of another content of the file are another method."""

    def entry(self, record: "RunRecord") -> dict[str, Any]:
        """Return what a record keeps of this metric; empty if it has none of this name."""
        return entries(record).get(self.name) or {}

    def digest(self, record: "RunRecord") -> str:
        """Return the hash of the file's content; empty if the record has no such metric."""
        return str(self.entry(record).get("digest") or "")

    def stored(self, record: "RunRecord") -> float | None:
        return self.entry(record).get("value")

    def is_in(self, record: "RunRecord") -> bool:
        return bool(self.entry(record))

    def interval(self, record: "RunRecord") -> Ends | None:
        ends = self.entry(record).get("interval")
        return (ends[0], ends[1]) if ends else None

    def reason(self, record: "RunRecord") -> str:
        return str(self.entry(record).get("reason") or "")

    def method(self, record: "RunRecord") -> str | None:
        if self.stored(record) is None:
            return None
        count = metrics.JUDGED_IMAGES.read(record) or 0
        return f"{self.title}, own metric {self.name} {self.digest(record)}, {count:.0f} images"

    def basis(self, record: "RunRecord") -> str:
        """Return N: an own metric has no reference that the record knows."""
        return f"{metrics.JUDGED_IMAGES.read(record) or 0:,.0f} images" if self.method(record) else ""


def entries(record: "RunRecord") -> dict[str, dict[str, Any]]:
    """Return what a record keeps of each own metric, by name."""
    return record.quality.get(NAME) or {}


def of(records: Iterable["RunRecord"]) -> list[OwnMetric]:
    """Return the own metrics of these records, each name once, with the title and direction of the first record."""
    found: dict[str, OwnMetric] = {}
    for record in records:
        for name, entry in entries(record).items():
            if name not in found:
                found[name] = _metric(name, entry)
    return list(found.values())


def _metric(name: str, entry: dict[str, Any]) -> OwnMetric:
    unit = entry.get("unit") or ""
    return OwnMetric(
        section=SECTION,
        name=name,
        key=f"own-{name}",
        title=entry["title"],
        help=f"{entry.get('help') or ''} Own metric {name}, from a file of this program's user.".strip(),
        unit=unit,
        better=entry["better"],
        tolerance=Seeded(),
        method_field=f"{NAME}.{name}",
        flag_field="",
        interval_title=INTERVAL_TITLE,
        intervals=(_own_interval,),
        axis="quality",
        tile="all",
        column=f"{entry['title']}, {unit}" if unit else entry["title"],
    )


def _own_interval(metric: Metric, record: "RunRecord") -> Ends | None:
    return metric.interval(record)


def _is_own(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(name, str) and _is_entry(entry) for name, entry in value.items())


def _is_entry(entry: Any) -> bool:
    """Return whether an entry has a title, a direction and a hash, and a value with its interval, or a reason."""
    if not isinstance(entry, dict) or entry.get("better") not in DIRECTIONS:
        return False
    if not TEXT.accepts(entry.get("title")) or not TEXT.accepts(entry.get("digest")):
        return False
    value, ends = entry.get("value"), entry.get("interval")
    if value is None:
        return ends is None and TEXT.accepts(entry.get("reason"))
    if not isinstance(ends, list) or not NUMBER.accepts(value) or not INTERVAL.accepts(ends):
        return False
    return ends[0] <= value <= ends[1]


OWN = Kind("a table of own metrics, each with title, better, digest, and value in its interval or a reason", _is_own)
FIELD = Field(section=SECTION, name=NAME, kind=OWN, tolerance=NotCompared("each own metric in it is compared"))
