"""`RunSpec`: everything that defines a run, as plain data. Imports neither torch nor Streamlit.

A spec has one canonical JSON form, and the hash of that form is the run id.
"""

import csv
import hashlib
import io
import json
import math
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from dit_core.errors import BadRequest
from dit_core.system import devices

SCHEDULERS = ("ddpm", "ddim", "dpm++2m", "unipc", "ddpm-dit", "euler")
GUIDED_CHANNELS = (0, 3)  # all; the first three, as in the published DiT code
OMITTED = {  # fields that older runs do not have
    "replicates": 1,
    "guidance_interval": None,
    "guidance_every": 1,
    "reference": "",
    "training_images": "",
    "metrics": (),
}
ALL = "all"  # as an option: no restriction
RESERVED = ("name", "title")  # keys of a technique that are no knobs


@dataclass(frozen=True)
class RunSpec:
    """Everything that defines a run; raises BadRequest if a value has the wrong type or is out of range.

    `device` is a name of torch such as `cuda:1`. `precision` is that of both sides: weights and products in float32,
    products in TF32, or weights and products in 16 bits; the autoencoder keeps float32 weights.
    `techniques` is the recipe, in order; empty means the baseline. `batch_size` is the batch size of the timed
    workload. `samples` is the number of images that quality is computed from (0: not computed), and `replicates` is the
    number of independent sets of `samples` images. `guidance_interval` and `guidance_every` say in which steps guidance
    is applied (`sampling.config`). `reference` is the path of the real images that quality compares with; empty means
    those of the model. `training_images` is the path of the images that calibration, recovery and distillation use;
    empty means those of the model. `metrics` are files with own metrics, or names of entry points
    (`experiment.own_metrics`). `classes` restricts generation to these class names; empty means all
    classes, in rotation.
    """

    model: str = "emoji"
    techniques: tuple[dict[str, Any], ...] = ()
    scheduler: str = "dpm++2m"
    steps: int = 20
    guidance: float = 2.0
    guidance_channels: int = 0  # one of GUIDED_CHANNELS
    batch_size: int = 8
    samples: int = 0
    seed: int = 0
    classes: tuple[str, ...] = ()
    device: str = "cpu"
    replicates: int = 1
    precision: str = ""  # that of the device's default
    guidance_interval: tuple[int, int] | None = None  # lowest and highest timestep; None: all
    guidance_every: int = 1
    reference: str = ""
    training_images: str = ""
    metrics: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.model, str) or not self.model:
            raise BadRequest(f"model must be a name or a path, got {self.model!r}.")
        for name in ("reference", "training_images"):
            if not isinstance(getattr(self, name), str):
                raise BadRequest(f"{name} must be a path, got {getattr(self, name)!r}.")
        if not _is_list_of_text(self.classes):
            raise BadRequest(f"classes must be a list of class names, got {self.classes!r}.")
        if not _is_list_of_text(self.metrics):
            raise BadRequest(f"metrics must be a list of files or names, got {self.metrics!r}.")
        if not isinstance(self.techniques, Iterable) or not all(map(_is_table, self.techniques)):
            raise BadRequest(f"techniques must be a list of objects with a name and knobs, got {self.techniques!r}.")
        if path := not_finite(list(self.techniques), "techniques"):
            raise BadRequest(f"{path} must be a finite number.")
        object.__setattr__(self, "techniques", tuple(_ordered(technique) for technique in self.techniques))
        object.__setattr__(self, "classes", tuple(self.classes))
        object.__setattr__(self, "metrics", tuple(self.metrics))
        self._check()

    def _check(self) -> None:
        for name in ("steps", "batch_size", "samples", "seed", "guidance_channels", "replicates", "guidance_every"):
            if not _is_int(getattr(self, name)):
                raise BadRequest(f"{name} must be a whole number, got {getattr(self, name)!r}.")
        for name, low, high in (
            ("steps", 1, 1000),
            ("batch_size", 1, 1024),
            ("samples", 0, 100_000),
            ("seed", 0, 2**31 - 1),
            ("replicates", 1, 10),
            ("guidance_every", 1, 1000),
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
        if self.guidance_channels not in GUIDED_CHANNELS:
            raise BadRequest(f"guidance_channels must be 0 (all) or 3, got {self.guidance_channels}.")
        if self.guidance_interval is not None:
            object.__setattr__(self, "guidance_interval", checked_interval(self.guidance_interval))
        if self.scheduler not in SCHEDULERS:
            raise BadRequest(f"Unknown scheduler {self.scheduler!r}: use one of {', '.join(SCHEDULERS)}.")
        object.__setattr__(self, "device", devices.parse(self.device))
        object.__setattr__(self, "precision", self.precision or devices.default_precision(self.device))
        if self.precision not in devices.PRECISIONS:
            raise BadRequest(f"Unknown precision {self.precision!r}: use one of {', '.join(devices.PRECISIONS)}.")
        if self.precision == "tf32" and devices.kind(self.device) != "cuda":
            raise BadRequest(
                f"precision tf32 needs an NVIDIA GPU, not {self.device}: use float32, bfloat16 or float16."
            )
        for technique in self.techniques:
            if not isinstance(technique.get("name"), str):
                raise BadRequest(f"A technique needs a name, got {technique!r}.")

    @property
    def run_id(self) -> str:
        """Hash of the canonical JSON form: a run has the same id on every machine."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:12]

    @property
    def baseline(self) -> "RunSpec":
        """The same workload without techniques, and so without training images."""
        return replace(self, techniques=(), training_images="")

    def to_dict(self) -> dict[str, Any]:
        """Return the spec as plain data, without the fields of OMITTED and the precision at their defaults.

        Runs older than these fields keep their ids. The default precision is that of the device.
        """
        omitted = {**OMITTED, "precision": devices.default_precision(self.device)}
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
            if name not in omitted or value != omitted[name]
        }

    def to_json(self) -> str:
        """Return the canonical JSON form."""
        return json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"), allow_nan=False)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "RunSpec":
        """Return the spec of plain data; raises BadRequest for an unknown field or a value out of range."""
        if not isinstance(data, dict):
            raise BadRequest(f"A spec must be a JSON object, got {type(data).__name__}.")
        known = [f.name for f in fields(cls)]
        if unknown := sorted(set(data) - set(known), key=str):
            raise BadRequest(f"Unknown spec field {unknown[0]!r}: use one of {', '.join(known)}.")
        return cls(**data)

    def label(self) -> str:
        """Return a short line for a legend: `quantization bits=8 + depth_pruning keep=6`, or `baseline`."""
        return " + ".join(technique_label(technique) for technique in self.techniques) or "baseline"

    def command(self, reader: Mapping[str, Any] | None = None) -> str:
        """Return the command that repeats this run, quoted for a shell.

        `reader` are fields that the reader of the command sets where an option is missing, other than those of a
        RunSpec: the device of a machine, or the steps that a model was exported for.
        """
        parts = ["python", "-m", "dit_core", "run", *_option("model", self.model)]
        for technique in self.techniques:
            knobs = ",".join(f"{key}={_plain(value)}" for key, value in technique.items() if key not in RESERVED)
            parts += ["--technique", technique["name"] + (f":{knobs}" if knobs else "")]
        default = {**asdict(RunSpec(model=self.model)), "precision": devices.default_precision(self.device)}
        for f in fields(self):
            value = getattr(self, f.name)
            assumed = (default[f.name], (reader or {}).get(f.name, default[f.name]))
            if f.name == "metrics":
                parts += [part for name in value for part in _option("metric", name)]
            elif f.name not in ("model", "techniques") and not value == assumed[0] == assumed[1]:
                parts += _option(f.name, _text(value))
        return shlex.join(parts)


def join_names(names: Iterable[str]) -> str:
    """Return names separated by commas, as CSV: a name with a comma or a quotation mark is quoted."""
    text = io.StringIO(newline="")
    names = list(names)
    needed = "" in names or names == [ALL]  # else they read as no name, and as no restriction
    csv.writer(text, lineterminator="", quoting=csv.QUOTE_ALL if needed else csv.QUOTE_MINIMAL).writerow(names)
    return text.getvalue()


def split_names(text: str) -> tuple[str, ...]:
    """Return the names that `join_names` joined. Raises BadRequest if a name is empty or a quotation mark is open."""
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except csv.Error as error:
        raise BadRequest(f"The names {text!r} cannot be read: put names with commas in double quotes.") from error
    names = [name for row in rows for name in row]
    if len(rows) > 1 or not names or not all(name.strip() for name in names):
        raise BadRequest(f"The list {text!r} has an empty name: separate names by single commas, or leave it out.")
    return tuple(names)


def _option(name: str, value: str) -> list[str]:
    """Return an option and its value as words of a command; a value that begins with a hyphen is joined to it."""
    option = f"--{name.replace('_', '-')}"
    return [f"{option}={value}"] if value.startswith("-") else [option, value]


def _text(value: Any) -> str:
    """Return the value of a field as its option reads it."""
    if value is None:
        return ALL
    if isinstance(value, tuple):
        return join_names(value) if isinstance(value[0], str) else ",".join(map(_plain, value))
    return _plain(value)


def checked_interval(interval: Any) -> tuple[int, int]:
    """Return the lowest and the highest timestep of guidance. Raises BadRequest if they are none or out of order."""
    if not isinstance(interval, list | tuple) or len(interval) != 2 or not all(map(_is_int, interval)):
        raise BadRequest(f"guidance_interval must be two timesteps, the lower first, got {interval!r}.")
    low, high = interval
    if not 0 <= low <= high <= 1000:
        raise BadRequest(f"Guidance from timestep {low} to {high} has no steps: use 0 to 1000, low at most high.")
    return low, high


def technique_label(technique: dict[str, Any]) -> str:
    """Return the name of a technique with its knobs: `quantization bits=8`."""
    knobs = (f"{key}={_plain(value)}" for key, value in technique.items() if key not in RESERVED)
    return " ".join([technique["name"], *knobs])


def _ordered(technique: dict[str, Any]) -> dict[str, Any]:
    """Return the name first, then the knobs sorted by name, so that JSON does not change labels and commands."""
    knobs = {key: technique[key] for key in sorted(technique) if key != "name"}
    return {**({"name": technique["name"]} if "name" in technique else {}), **knobs}


def _is_list_of_text(value: Any) -> bool:
    listed = isinstance(value, Iterable) and not isinstance(value, str)
    return listed and all(isinstance(item, str) and item for item in value)


def _is_table(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(key, str) for key in value)


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _plain(value: Any) -> str:
    """Return a value as the command line reads it; a float has few digits if they represent it exactly."""
    if isinstance(value, float):
        return short if float(short := f"{value:g}") == value else repr(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def not_finite(value: Any, path: str = "record") -> str:
    """Return the path of the first value that is not finite; empty if all are."""
    if isinstance(value, float) and not math.isfinite(value):
        return path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
    return next((inner for key, item in items if (inner := not_finite(item, f"{path}.{key}"))), "")
