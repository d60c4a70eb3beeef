"""The schema of a record: which fields each section has, and what kind of value each holds. Imports no torch.

Derived from `metrics` and `fields`. Names carry units: `_s` seconds, `_bytes`, `_j` joules, `_db` decibels, `_per_s`.
A record may have other fields too; if the name of such a field ends in a unit, its value must be a number.
"""

from typing import Any

from dit_core.records import metrics, own_metrics
from dit_core.records.fields import FIELDS
from dit_core.records.kinds import NOT_NEGATIVE, NUMBER, Kind, list_of, table_of
from dit_core.records.metric import Field

ALL: dict[str, Field] = {field.path: field for field in (*metrics.fields(), own_metrics.FIELD, *FIELDS)}
_UNITS = ("_s", "_bytes", "_j", "_db", "_w", "_hz")


def _kinds(required: bool) -> dict[str, dict[str, Kind]]:
    sections: dict[str, dict[str, Kind]] = {}
    for field in ALL.values():
        if field.kind and field.required == required:
            sections.setdefault(field.section, {})[field.name] = field.kind
    return sections


# By section and name. Every record has the required fields; a new record has the optional ones too, or null with a
# reason.
REQUIRED, OPTIONAL = _kinds(required=True), _kinds(required=False)


def problem(data: dict[str, Any]) -> str:
    """Return the first error in a record's sections as one line; empty if there is none."""
    for name, required in REQUIRED.items():
        section = data[name]
        if not isinstance(section, dict):
            return f"{name} must be a JSON object"
        if missing := next((field for field in required if field not in section), None):
            return f"{name}.{missing} is missing"
        if error := _section_problem(name, section, {**required, **OPTIONAL.get(name, {})}):
            return error
    low, high = data["speedup"]["low"], data["speedup"]["high"]
    return "" if low is None or high is None or low <= high else "speedup.low is above speedup.high"


def _section_problem(section: str, values: dict[str, Any], kinds: dict[str, Kind]) -> str:
    for name, value in values.items():
        if value is None and name in kinds and not _reason(values, name):
            return f"{section}.{name} is null without a reason"
        kind = kinds.get(name) or (_unit_kind(name, value) if name.endswith(_UNITS) else None)
        if value is not None and kind and not kind.accepts(value):
            return f"{section}.{name} must be {kind.description}, got {_short(value)}"
    return ""


def _reason(section: dict[str, Any], name: str) -> str:
    """Return why a field is null: `reasons` has a line for single fields, `reason` one for the whole section."""
    reasons = section.get("reasons")
    return (reasons.get(name) if isinstance(reasons, dict) else None) or section.get("reason") or ""


def _unit_kind(name: str, value: Any) -> Kind:
    """Return the kind of a field that is not in the tables, from its unit: only decibels can be negative."""
    kind = NUMBER if name.endswith("_db") else NOT_NEGATIVE
    return list_of(kind) if isinstance(value, list) else table_of(kind) if isinstance(value, dict) else kind


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
