"""`RunRecord`: a run's specification, its environment and what was measured. Imports neither torch nor Streamlit.

Unknown values are null with a reason in the same section, never 0 or NaN.
"""

import json
from collections.abc import Collection
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from dit_core.errors import BadRequest
from dit_core.records import schema as record_schema
from dit_core.records.spec import RunSpec, not_finite

VERSION = 1  # of the form of records on disk


@dataclass(frozen=True)
class RunRecord:
    """The measurements of a run. Sections are plain dictionaries; `schema` describes their fields."""

    run_id: str
    status: str
    spec: dict[str, Any]
    environment: dict[str, Any]
    latency: dict[str, Any] = field(default_factory=dict)
    memory: dict[str, Any] = field(default_factory=dict)
    flops: dict[str, Any] = field(default_factory=dict)
    energy: dict[str, Any] = field(default_factory=dict)
    quality: dict[str, Any] = field(default_factory=dict)
    fidelity: dict[str, Any] = field(default_factory=dict)
    speedup: dict[str, Any] = field(default_factory=dict)
    samples: dict[str, Any] = field(default_factory=dict)
    created_at: str = ""
    schema: int = VERSION

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def to_json(self, indent: int | None = 1) -> str:
        return json.dumps(self.to_dict(), indent=indent, sort_keys=True, allow_nan=False) + "\n"

    @classmethod
    def from_dict(cls, data: Any) -> "RunRecord":
        """Return the record of plain data; raises RecordError, with one line, if it is incomplete or invalid."""
        if not isinstance(data, dict):
            raise RecordError("not a JSON object")
        if data.get("schema") != VERSION:
            raise RecordError(f"schema {data.get('schema')!r} is not {VERSION}")
        known = {f.name for f in fields(cls)}
        if missing := sorted(known - set(data)):
            raise RecordError(f"{missing[0]!r} is missing")
        if unknown := sorted(set(data) - known):
            raise RecordError(f"{unknown[0]!r} is not a field of a record")
        if path := not_finite(data):
            raise RecordError(f"{path} is not a finite number")
        for name, kind in (("run_id", str), ("status", str), ("created_at", str), ("spec", dict)):
            if not isinstance(data[name], kind):
                raise RecordError(f"{name!r} must be {'text' if kind is str else 'a JSON object'}")
        if problem := record_schema.problem(data):
            raise RecordError(problem)
        try:
            spec = RunSpec.from_dict(data["spec"])
        except BadRequest as error:
            raise RecordError(f"its spec is invalid: {error}") from error
        if spec.run_id != data["run_id"]:
            raise RecordError("its run_id does not belong to its spec")
        return cls(**data)


def coverage(records: Collection[RunRecord]) -> tuple[int, int]:
    """Return how many techniques some runs use, and how many runs they are: what shows most is shown first."""
    return len({entry["name"] for record in records for entry in record.spec["techniques"]}), len(records)


class RecordError(ValueError):
    """A stored record is invalid; the message says why."""
