"""Weights that recovery training left behind, beside the model that they began from. Imports no torch.

A file is named by the recipe up to the technique that was recovered and carries in its header the recipe, the hash of
the base weights and the training's settings.
"""

import gzip
import hashlib
import json
import struct
import zlib
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from dit_core.errors import BadRequest
from dit_core.models import catalog

FOLDER, SUFFIX = "recovered", ".safetensors.gz"
NONE, BUNDLED = "none", "bundled"


def key(recipe: Sequence[dict[str, Any]]) -> str:
    """Hash of a canonical recipe, whatever way of recovery its last technique names."""
    *before, last = recipe
    data = [*before, {name: value for name, value in last.items() if name != "recover"}]
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:12]


def path(model: str, recipe: Sequence[dict[str, Any]]) -> Path:
    """Where the bundled weights of a recipe lie, or would."""
    return catalog.find(model).folder / FOLDER / f"{key(recipe)}{SUFFIX}"


def trains(recipe: Iterable[dict[str, Any]]) -> bool:
    """Whether a technique of the recipe trains when it is applied."""
    return any(entry.get("recover", NONE) not in (NONE, BUNDLED) for entry in recipe)


def check(model: str, recipe: Sequence[dict[str, Any]]) -> None:
    """Raise BadRequest where a technique of a canonical recipe asks for a recovery that `model` cannot have."""
    for index, entry in enumerate(recipe, start=1):
        how = entry.get("recover", NONE)
        if how == NONE:
            continue
        check_images(model, f"{entry['name']}: recovery", "set recover to none")
        if how == BUNDLED and not path(model, recipe[:index]).is_file():
            known = "; ".join(words(found, entry["name"]) for found in listed(model, entry["name"])) or "none of it"
            raise BadRequest(
                f"{entry['name']}: these knobs have no bundled weights. Bundled: {known}. "
                "Or set recover to a number of steps."
            )


def check_images(model: str, what: str, instead: str) -> None:
    """Raise BadRequest, with what to do `instead`, where `what` trains and `model` has no images to train on."""
    if model not in catalog.bundled():
        raise BadRequest(f"{what} trains on the images of a bundled model: {instead}.")


def weights_digest(model: str, recipe: Sequence[dict[str, Any]]) -> str | None:
    """Which weights a canonical recipe runs with, in 12 letters: the model's, with the bundled ones that it loads.

    None for a model that is no folder.
    """
    base = catalog.weights_digest(model)
    used = [path(model, recipe[:index]) for index, entry in enumerate(recipe, 1) if entry.get("recover") == BUNDLED]
    if base is None or not used:
        return base
    return hashlib.sha256("".join([base, *map(file_digest, used)]).encode()).hexdigest()[:12]


def files(model: str) -> dict[str, Path]:
    """All bundled recovered weights of a model by name."""
    found = sorted((catalog.find(model).folder / FOLDER).glob(f"*{SUFFIX}"))
    return {file.name.removesuffix(SUFFIX): file for file in found}


def listed(model: str, technique: str) -> list[list[dict[str, Any]]]:
    """Recipes that end in `technique` and have bundled weights."""
    recipes = [json.loads(header(file)["recipe"]) for file in files(model).values()]
    return [recipe for recipe in recipes if recipe[-1]["name"] == technique]


def header(file: Path) -> dict[str, str]:
    """What a file says of itself; raises BadRequest where it is not whole."""
    try:
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            return json.loads(stream.read(length))["__metadata__"]
    except (OSError, EOFError, ValueError, KeyError, struct.error, zlib.error, MemoryError) as error:
        raise BadRequest(f"{file} is damaged: restore it.") from error


def steps(header: dict[str, str]) -> int:
    """How many steps the weights with this header were trained for."""
    settings = json.loads(header["settings"])
    return settings["samples"] // settings["batch_size"]


def words(recipe: Iterable[dict[str, Any]], technique: str) -> str:
    """The knobs of a recipe's last technique on one line, after what comes before it."""
    *before, last = recipe
    knobs = ",".join(f"{name}={value}" for name, value in last.items() if name not in ("name", "recover"))
    return " + ".join([*(entry["name"] for entry in before), f"{technique}:{knobs}"])


def file_digest(file: Path) -> str:
    """SHA-256 of what a file holds unpacked, taken once as long as it stays as it is; empty where it is not whole."""
    try:
        found = file.stat()
    except OSError:
        return ""
    return _content_digest(file, found.st_mtime_ns, found.st_size)


@lru_cache(maxsize=256)
def _content_digest(file: Path, changed_ns: int, size: int) -> str:
    try:
        return hashlib.sha256(gzip.decompress(file.read_bytes())).hexdigest()
    except (OSError, EOFError, zlib.error):
        return ""
