"""Metrics from a user's file (`--metric sharpness.py`) or from an entry point of the group `dit_core.metrics`.

The file, or the module that the entry point names, has

    TITLE = "Sharpness"              # on axes, tiles and columns; by default the name of the file
    UNIT = ""                        # may be left out
    BETTER = "higher"                # or "lower"

    def metric(images):              # uint8 array (N, H, W, 3)
        \"""What the metric is, for the help.\"""
        return value, low, high      # the value and both ends of its 95 % interval

A fault of the file costs this metric and not the run: the value is null with the reason. Before a run the file is only
read, never executed.
"""

import ast
import hashlib
import importlib.metadata
import importlib.util
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dit_core.errors import BadRequest, Cancelled
from dit_core.records.own_metrics import DIRECTIONS
from dit_core.records.record import RunRecord
from dit_core.records.spec import RunSpec
from dit_core.system.files import user_path
from dit_core.system.statistics import student_quantile

GROUP, FUNCTION = "dit_core.metrics", "metric"


@dataclass(frozen=True)
class MetricFile:
    """A file with a metric: its name in records, its path, and the content that was checked."""

    name: str
    path: Path
    content: bytes

    @property
    def digest(self) -> str:
        """Hash of the content, 12 letters."""
        return hashlib.sha256(self.content).hexdigest()[:12]

    @property
    def facts(self) -> dict[str, Any]:
        """Title, unit, direction and help, as a record has them, from the constants and the docstring of the file."""
        constants, function = _read(self.content)
        help_text = " ".join((ast.get_docstring(function) or "").split()) if function else ""
        return {
            "title": str(constants.get("TITLE") or self.name),
            "unit": str(constants.get("UNIT") or ""),
            "better": constants.get("BETTER"),
            "help": help_text,
            "digest": self.digest,
        }


def find(name: str) -> MetricFile:
    """Return the metric of a file or of an entry point. Raises BadRequest, with what to change, if it has none."""
    path = user_path(name)
    if path.suffix != ".py":
        path = _entry_point(name)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BadRequest(f"metric {name} cannot be read ({error.strerror}): name a Python file.") from error
    try:
        constants, function = _read(content)
    except (SyntaxError, ValueError) as error:
        line = f" in line {error.lineno}" if isinstance(error, SyntaxError) else ""
        raise BadRequest(f"metric {name} is not valid Python{line}: correct the file.") from error
    if function is None:
        raise BadRequest(f"metric {name} has no function {FUNCTION}(images): add one that returns value, low, high.")
    if constants.get("BETTER") not in DIRECTIONS:
        raise BadRequest(f'metric {name} does not say which values are better: add BETTER = "higher" or "lower".')
    return MetricFile(path.stem if path == user_path(name) else name, path, content)


def installed() -> list[str]:
    """Return the names of the entry points of own metrics. Takes long, since it reads what every package declares."""
    return sorted(point.name for point in importlib.metadata.entry_points(group=GROUP))


def check(spec: RunSpec) -> None:
    """Raise BadRequest if an own metric of a run has no valid file, or no images. The files are not executed."""
    found = [find(name) for name in spec.metrics]
    names = [file.name for file in found]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise BadRequest(f"Two own metrics have the name {twice}: rename one of the files.")
    if found and not spec.samples:
        raise BadRequest("An own metric needs images: set samples to the number of images to judge.")


def have_changed(record: RunRecord) -> bool:
    """Return whether a file of the record's own metrics has another content now. False if it is not on this machine."""
    kept = record.quality.get("own") or {}
    for name in record.spec.get("metrics") or ():
        try:
            file = find(name)
        except BadRequest:
            continue
        if file.name in kept and kept[file.name]["digest"] != file.digest:
            return True
    return False


def evaluate(
    spec: RunSpec,
    images: np.ndarray | None,
    note: Callable[[str], None] = lambda text: None,
    broken: str = "",
) -> dict[str, dict[str, Any]]:
    """Return what a record keeps of each own metric of a run, by name.

    `images` (N, H, W, 3) uint8 holds `replicates` sets of equal size, one after the other. With several sets the value
    is their mean, with Student's interval. `note` gets one line about each metric that has no value. `broken` says why
    the images cannot be judged.
    """
    results = {}
    for file in map(find, spec.metrics):
        result: dict[str, Any] = {**file.facts, "value": None, "interval": None}
        try:
            if broken or images is None:
                raise ValueError(broken or "there are no images")
            low, value, high = _over_sets(_load(file), images, spec.replicates)
            result |= {"value": value, "interval": [low, high]}
        except Cancelled:
            raise
        except (Exception, SystemExit) as error:
            message = " ".join(str(error).split()) or type(error).__name__
            known = isinstance(error, _Invalid) or bool(broken)
            result["reason"] = message if known else f"it raised {type(error).__name__}: {message}"
            note(f"own metric {file.name} has no value: {result['reason']}")
        results[file.name] = result
    return results


class _Invalid(ValueError):
    """What a metric returned is no value with an interval; the message says why."""


def _over_sets(metric: Callable, images: np.ndarray, replicates: int) -> tuple[float, float, float]:
    """Return low, value and high of the metric, over the sets if there are several."""
    size = len(images) // replicates
    sets = [images[start : start + size] for start in range(0, size * replicates, size)]
    figures = [_checked(metric(np.ascontiguousarray(part).copy())) for part in sets]
    if len(figures) == 1:
        return figures[0]
    values = np.array([value for _, value, _ in figures])
    half = student_quantile(len(values) - 1) * float(values.std(ddof=1)) / len(values) ** 0.5
    return float(values.mean()) - half, float(values.mean()), float(values.mean()) + half


def _checked(returned: Any) -> tuple[float, float, float]:
    """Return low, value and high of what a metric returned. Raises _Invalid if it is not a value in its interval."""
    flat = _flat(returned)
    if len(flat) != 3:
        raise _Invalid(f"it returned {_text(returned)} instead of value, low, high")
    value, low, high = flat
    if not all(math.isfinite(number) for number in flat):
        raise _Invalid(f"it returned {_text(returned)}, which is not finite")
    if not low <= value <= high:
        raise _Invalid(f"its value {value:g} is not in its interval from {low:g} to {high:g}")
    return low, value, high


def _flat(returned: Any) -> Sequence[float]:
    """Return the numbers of `value, low, high` or `value, (low, high)`; empty if there is anything else."""
    items: Iterable[Any] = returned if isinstance(returned, tuple | list) else ()
    numbers = [part for item in items for part in (item if isinstance(item, tuple | list) else (item,))]
    try:
        return [float(number) for number in numbers]
    except (TypeError, ValueError):
        return []


def _text(returned: Any) -> str:
    text = " ".join(repr(returned).split())
    return text if len(text) <= 60 else f"{text[:57]}..."


def _load(file: MetricFile) -> Callable:
    """Execute the content that was checked and return its function."""
    module: dict[str, Any] = {"__name__": f"own_metric_{file.name}", "__file__": str(file.path)}
    exec(compile(file.content, str(file.path), "exec"), module)
    return module[FUNCTION]


def _entry_point(name: str) -> Path:
    """Return the file of the module that an entry point names. Raises BadRequest if there is none."""
    points = {point.name: point for point in importlib.metadata.entry_points(group=GROUP)}
    if name not in points:
        known = f" or one of {', '.join(sorted(points))}" if points else ""
        raise BadRequest(f"{name} is no metric: name a Python file{known}.")
    try:
        found = importlib.util.find_spec(points[name].module)
    except (ImportError, ValueError):
        found = None
    if found is None or not found.origin:
        raise BadRequest(f"metric {name} is in the module {points[name].module}, which cannot be found: install it.")
    return Path(found.origin)


def _read(content: bytes) -> tuple[dict[str, Any], ast.FunctionDef | None]:
    """Return the constants of a file that are plain values, and its function; the file is not executed."""
    tree, constants = ast.parse(content), {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            constants |= {target.id: node.value.value for target in node.targets if isinstance(target, ast.Name)}
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == FUNCTION]
    return constants, functions[-1] if functions else None
