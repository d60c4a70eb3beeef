"""Panels on disk: checked whenever they are read, and rejected if the weights have changed. Imports no torch.

cached_results/inside/
  <panel>.json             data, digest of the weights, and the command that computed the panel
  <panel>-<name>.webp      a lossless sheet of pictures; the JSON file holds its hash
"""

import hashlib
import json
import math
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from dit_core.errors import BadRequest
from dit_core.inside import Panel
from dit_core.models import recovered, sources
from dit_core.records.places import bundled_root, results_root
from dit_core.system import causes
from dit_core.system.files import write_bytes, write_text

FOLDER, SCHEMA = "inside", 1
PANELS = ("quantization", "pruning", "attention", "experts", "distillation", "caching")
COMMAND = "python -m dit_core inside"
KEYS = {"schema", "panel", "model", "weights", "recovered", "command", "pictures", "data"}
DIGITS = 4  # significant, of every number


def folder() -> Path:
    """Return the folder of the panels: those computed here, else the bundled ones."""
    own = results_root() / FOLDER
    return own if own.is_dir() else bundled_root(results_root()) / FOLDER


def write(folder: Path, name: str, model: str, panel: Panel) -> int:
    """Write a panel, pictures first, and return its bytes. Raises ValueError if a number is not finite."""
    content = {
        "schema": SCHEMA,
        "panel": name,
        "model": model,
        "weights": sources.find(model).digest,
        "recovered": recovered_files(model) if panel.recovered else None,
        "command": COMMAND,
        "pictures": {
            key: {"file": f"{name}-{key}.webp", "sha256": hashlib.sha256(data).hexdigest()}
            for key, data in panel.pictures.items()
        },
        "data": rounded(panel.data),
    }
    text = json.dumps(content, allow_nan=False, separators=(",", ":")) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    for key, data in panel.pictures.items():
        write_bytes(data, folder / content["pictures"][key]["file"])
    write_text(text, folder / f"{name}.json")
    return len(text) + sum(map(len, panel.pictures.values()))


def read(name: str) -> dict[str, Any]:
    """Return the content of a panel that was computed from the model's current weights.

    Raises BadRequest, with the command to run, if the panel is missing, damaged or outdated.
    """
    path = folder() / f"{name}.json"
    try:
        status = path.stat()
    except OSError as error:
        raise BadRequest(f"This view has not been computed yet: run {COMMAND}") from error
    content = _parse(path, status.st_mtime_ns, status.st_size)
    if reason := problem(content, name):
        raise BadRequest(f"This view cannot be shown, {reason}: run {COMMAND}")
    return content  # type: ignore[return-value]


def picture(content: dict[str, Any], key: str) -> bytes | None:
    """Return a sheet of pictures of a panel as WebP; None if it is missing or damaged."""
    named = content["pictures"].get(key)
    try:
        data = (folder() / Path(named["file"]).name).read_bytes() if named else b""
    except OSError:
        return None
    return data if named and hashlib.sha256(data).hexdigest() == named["sha256"] else None


def problem(content: Any, name: str) -> str | None:
    """Return the reason why a content is not a current panel of that name; None if it is."""
    return _malformed(content, name) or _outdated(content)


def _malformed(content: Any, name: str) -> str | None:
    if isinstance(content, str):
        return content
    if not isinstance(content, dict) or set(content) != KEYS or content["schema"] != SCHEMA or content["panel"] != name:
        return "it is not a panel of this version"
    pictures = content["pictures"]
    if not isinstance(pictures, dict) or not all(map(_names_a_sheet, pictures.values())):
        return "it does not name its sheets"
    return None


def _names_a_sheet(entry: Any) -> bool:
    return isinstance(entry, dict) and all(isinstance(entry.get(key), str) for key in ("file", "sha256"))


def _outdated(content: dict[str, Any]) -> str | None:
    try:
        now = sources.find(content["model"]).digest
    except BadRequest:
        return f"there is no model {content['model']}"
    return None if content["weights"] == now else f"it was computed from other weights than {content['model']} has now"


def check(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield file name and problem of every damaged or outdated panel of a folder."""
    named = set()
    for path in sorted(folder.glob("*.json")):
        content = _parse(path, path.stat().st_mtime_ns, path.stat().st_size)
        if reason := _malformed(content, path.stem):
            yield path.name, f"{reason}: run {COMMAND}"
            continue
        if reason := _outdated(content):
            yield path.name, f"{reason}: run {COMMAND}"
        elif content["recovered"] not in (None, recovered_files(content["model"])):
            yield path.name, f"other recovered weights are bundled now: run {COMMAND}"
        for one in content["pictures"].values():
            sheet = folder / Path(one["file"]).name
            named.add(sheet.name)
            if not sheet.is_file() or hashlib.sha256(sheet.read_bytes()).hexdigest() != one["sha256"]:
                yield path.name, f"its sheet {sheet.name} is missing or was damaged: run {COMMAND}"
    for path in sorted(folder.glob("*.webp")):
        if path.name not in named:
            yield path.name, "no panel names this sheet"


def recovered_files(model: str) -> dict[str, str]:
    """Return the bundled recovered weights of a model: name and first digits of the content hash of each file."""
    return {name: recovered.file_digest(path)[:12] for name, path in recovered.files(model).items()}


def rounded(value: Any) -> Any:
    """Round every float to `DIGITS` significant digits. Raises ValueError if a number is not finite."""
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError("A panel holds a number that is not finite.")
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, dict):
        return {str(key): rounded(part) for key, part in value.items()}
    return [rounded(part) for part in value] if isinstance(value, list | tuple) else value


@lru_cache(maxsize=32)
def _parse(path: Path, mtime_ns: int, size: int) -> Any:
    """Return the content of a file in this state, or a string with the reason why it cannot be read."""

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is no number")

    try:
        return json.loads(path.read_bytes(), parse_constant=refuse)
    except OSError as error:
        return causes.cause_of(error)
    except (ValueError, RecursionError) as error:
        return f"it is not whole JSON ({error})"
