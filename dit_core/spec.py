"""What a run is and what it measured, as plain data. Imports neither torch nor Streamlit.

A `RunSpec` has one canonical JSON form; its hash is the run id. A `RunRecord` is the spec with its environment and its
figures. Unknown figures are None with a reason beside them, never 0 and never NaN.
"""

import hashlib
import json
import math
import shlex
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from dit_core import figures
from dit_core.errors import BadRequest

SCHEMA = 1
SCHEDULERS = ("ddpm", "ddim", "dpm++2m", "unipc")
DEVICES = ("cpu", "cuda")
RESERVED = ("name", "title")


@dataclass(frozen=True)
class RunSpec:
    """Everything that defines a run. `techniques` is the recipe, in order; empty means the baseline.

    `batch_size` is the batch of the timed workload. `samples` is the number of images judged for quality (0: none, the
    quality section says so), `replicates` how many independent sets of so many. `classes` restricts generation to these
    class names; empty means all, in rotation.
    """

    model: str = "emoji"
    techniques: tuple[dict[str, Any], ...] = ()
    scheduler: str = "dpm++2m"
    steps: int = 20
    guidance: float = 2.0
    guidance_channels: int = 0  # 0: all; 3: the first three, as the published code
    batch_size: int = 8
    samples: int = 0
    seed: int = 0
    classes: tuple[str, ...] = ()
    device: str = "cpu"
    replicates: int = 1

    def __post_init__(self) -> None:
        if not isinstance(self.model, str) or not self.model:
            raise BadRequest(f"model must be a name or a path, got {self.model!r}.")
        listed = isinstance(self.classes, Iterable) and not isinstance(self.classes, str)
        if not listed or not all(isinstance(name, str) for name in self.classes):
            raise BadRequest(f"classes must be a list of class names, got {self.classes!r}.")
        if not isinstance(self.techniques, Iterable) or not all(map(_is_table, self.techniques)):
            raise BadRequest(f"techniques must be a list of objects with a name and knobs, got {self.techniques!r}.")
        if path := _not_finite(list(self.techniques), "techniques"):
            raise BadRequest(f"{path} must be a finite number.")
        object.__setattr__(self, "techniques", tuple(_ordered(technique) for technique in self.techniques))
        object.__setattr__(self, "classes", tuple(self.classes))
        self._check()

    def _check(self) -> None:
        for name in ("steps", "batch_size", "samples", "seed", "guidance_channels", "replicates"):
            if not _is_int(getattr(self, name)):
                raise BadRequest(f"{name} must be a whole number, got {getattr(self, name)!r}.")
        for name, low, high in (
            ("steps", 1, 1000),
            ("batch_size", 1, 1024),
            ("samples", 0, 100_000),
            ("seed", 0, 2**31 - 1),
            ("replicates", 1, 10),
        ):
            if not low <= getattr(self, name) <= high:
                raise BadRequest(f"{name} must be between {low} and {high}, got {getattr(self, name)}.")
        if (
            isinstance(self.guidance, bool)
            or not isinstance(self.guidance, int | float)
            or not 0 <= self.guidance <= 30
        ):
            raise BadRequest(f"guidance must be a number between 0 and 30, got {self.guidance!r}.")
        object.__setattr__(self, "guidance", float(self.guidance) + 0.0)  # -0.0 is 0.0
        if self.guidance_channels not in (0, 3):
            raise BadRequest(f"guidance_channels must be 0 (all) or 3, got {self.guidance_channels}.")
        if self.scheduler not in SCHEDULERS:
            raise BadRequest(f"Unknown scheduler {self.scheduler!r}: use one of {', '.join(SCHEDULERS)}.")
        if self.device not in DEVICES:
            raise BadRequest(f"Unknown device {self.device!r}: use one of {', '.join(DEVICES)}.")
        for technique in self.techniques:
            if not isinstance(technique.get("name"), str):
                raise BadRequest(f"A technique needs a name, got {technique!r}.")

    @property
    def run_id(self) -> str:
        """Hash of the canonical JSON form: the same run has the same id everywhere."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:12]

    @property
    def baseline(self) -> "RunSpec":
        """The same workload without techniques."""
        return replace(self, techniques=())

    def to_dict(self) -> dict[str, Any]:
        """Plain data. A single replicate is left out: runs from before there were replicates keep their ids."""
        data = asdict(self)
        if self.replicates == 1:
            del data["replicates"]
        return {**data, "techniques": list(data["techniques"]), "classes": list(data["classes"])}

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"), allow_nan=False)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "RunSpec":
        """Raises BadRequest on an unknown field or a value out of range."""
        if not isinstance(data, dict):
            raise BadRequest(f"A spec must be a JSON object, got {type(data).__name__}.")
        known = [f.name for f in fields(cls)]
        if unknown := sorted(set(data) - set(known), key=str):
            raise BadRequest(f"Unknown spec field {unknown[0]!r}: use one of {', '.join(known)}.")
        return cls(**data)

    def label(self) -> str:
        """One short line for a legend: `quantization bits=8 + depth_pruning keep=6`, or `baseline`."""
        return " + ".join(technique_label(technique) for technique in self.techniques) or "baseline"

    def command(self) -> str:
        """The command line that makes this run again, quoted as a shell wants it."""
        parts = ["python", "-m", "dit_core", "run", "--model", self.model]
        for technique in self.techniques:
            knobs = ",".join(f"{key}={_plain(value)}" for key, value in technique.items() if key not in RESERVED)
            parts += ["--technique", technique["name"] + (f":{knobs}" if knobs else "")]
        default = RunSpec(model=self.model)
        for f in fields(self):
            value = getattr(self, f.name)
            if f.name not in ("model", "techniques") and value != getattr(default, f.name):
                parts += [f"--{f.name.replace('_', '-')}", ",".join(value) if f.name == "classes" else _plain(value)]
        return shlex.join(parts)


def technique_label(technique: dict[str, Any]) -> str:
    knobs = (f"{key}={_plain(value)}" for key, value in technique.items() if key not in RESERVED)
    return " ".join([technique["name"], *knobs])


@dataclass(frozen=True)
class RunRecord:
    """What a run measured. Sections are plain dictionaries with units in their names; see `figures`."""

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
    schema: int = SCHEMA

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def to_json(self, indent: int | None = 1) -> str:
        return json.dumps(self.to_dict(), indent=indent, sort_keys=True, allow_nan=False) + "\n"

    @classmethod
    def from_dict(cls, data: Any) -> "RunRecord":
        """Raises RecordError, in one line, on anything that is not a whole and truthful record."""
        if not isinstance(data, dict):
            raise RecordError("not a JSON object")
        if data.get("schema") != SCHEMA:
            raise RecordError(f"schema {data.get('schema')!r} is not {SCHEMA}")
        known = {f.name for f in fields(cls)}
        if missing := sorted(known - set(data)):
            raise RecordError(f"{missing[0]!r} is missing")
        if unknown := sorted(set(data) - known):
            raise RecordError(f"{unknown[0]!r} is not a field of a record")
        if path := _not_finite(data):
            raise RecordError(f"{path} is not a finite number")
        for name, kind in (("run_id", str), ("status", str), ("created_at", str), ("spec", dict)):
            if not isinstance(data[name], kind):
                raise RecordError(f"{name!r} must be {'text' if kind is str else 'a JSON object'}")
        if wrong := figures.problem(data):
            raise RecordError(wrong)
        try:
            spec = RunSpec.from_dict(data["spec"])
        except BadRequest as error:
            raise RecordError(f"its spec is refused: {error}") from error
        if spec.run_id != data["run_id"]:
            raise RecordError("its run_id does not belong to its spec")
        return cls(**data)


class RecordError(ValueError):
    """A stored record cannot be trusted; the message says what is wrong with it."""


def _ordered(technique: dict[str, Any]) -> dict[str, Any]:
    """Name first, then the knobs by name: the same label and command before and after a trip through JSON."""
    knobs = {key: technique[key] for key in sorted(technique) if key != "name"}
    return {**({"name": technique["name"]} if "name" in technique else {}), **knobs}


def _is_table(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(key, str) for key in value)


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _plain(value: Any) -> str:
    """As the command line reads it: a float in few digits where they say all of it."""
    if isinstance(value, float):
        return short if float(short := f"{value:g}") == value else repr(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _not_finite(value: Any, path: str = "record") -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
    return next((found for key, item in items if (found := _not_finite(item, f"{path}.{key}"))), "")
