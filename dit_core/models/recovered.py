"""Weights from recovery training, bundled with the model that the training started from. Imports no torch.

    recovered/guidance_distillation-e935d3.safetensors.xz    the weights: recipe, then the first digits of its key
    recovered/guidance_distillation-e935d3.csv               the log of the training

A file belongs to a recipe up to the technique that was recovered. The digits at the end of its name count; the words
before them are for people. The header of a file holds the recipe, the hash of the base weights and the settings of the
training.
"""

import hashlib
import json
import lzma
import struct
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from dit_core.errors import BadRequest
from dit_core.models import sources
from dit_core.models.sources import Missing
from dit_core.system import causes

SUFFIX = ".safetensors.xz"
KEY_DIGITS = 6  # of the key, in a file's name
NONE, BUNDLED = "none", "bundled"


def key(recipe: Sequence[dict[str, Any]]) -> str:
    """Return the hash of a canonical recipe without the `recover` knob of its last technique: 12 hexadecimal digits."""
    *before, last = recipe
    data = [*before, {name: value for name, value in last.items() if name != "recover"}]
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:12]


def path(model: str, recipe: Sequence[dict[str, Any]], name: str = "") -> Path:
    """Return the file of a recipe's bundled weights; if there is none, the file to write them to.

    `name` is the readable part of a new file's name; by default the names of the techniques.
    """
    digits = key(recipe)[:KEY_DIGITS]
    parent = folder(model)
    words = name or "+".join(entry["name"] for entry in recipe)
    return next(parent.glob(f"*-{digits}{SUFFIX}"), parent / f"{words}-{digits}{SUFFIX}")


def folder(model: str) -> Path:
    """Return the folder of a model's bundled recovered weights. Raises BadRequest if the model cannot have any."""
    parent = sources.find(model).recovered_folder
    if parent is None:
        raise BadRequest(f"{model} cannot have bundled recovered weights: set recover to none.")
    return parent


def trains(recipe: Iterable[dict[str, Any]]) -> bool:
    """Return whether a technique of the recipe trains when it is applied."""
    return any(entry.get("recover", NONE) not in (NONE, BUNDLED) for entry in recipe)


def check(model: str, recipe: Sequence[dict[str, Any]], images: str = "") -> None:
    """Raise BadRequest if `model` cannot have the recovery that a technique of a canonical recipe asks for.

    `images` is the path of a person's own training images.
    """
    for index, entry in enumerate(recipe, start=1):
        how = entry.get("recover", NONE)
        if how == NONE:
            continue
        check_images(model, f"{entry['name']}: recovery", "set recover to none", images)
        if how == BUNDLED and not path(model, recipe[:index]).is_file():
            known = "; ".join(words(other, entry["name"]) for other in listed(model, entry["name"])) or "none"
            raise BadRequest(
                f"{entry['name']}: these knobs have no bundled weights. Bundled: {known}. "
                "Or set recover to a number of steps."
            )


def check_images(model: str, what: str, instead: str, images: str = "") -> None:
    """Raise BadRequest, with what to do `instead`, if `what` can train neither on own `images` nor on the model's."""
    source = sources.find(model)
    known = source.training_images
    if isinstance(known, Missing) and not (images and source.autoencoder):
        own = "" if source.autoencoder is None else ", or set training_images to your own"
        raise BadRequest(f"{what} cannot train, because {known.reason}: {instead}{own}.")


def weights_digest(model: str, recipe: Sequence[dict[str, Any]]) -> str | None:
    """Return a hash (12 digits) of the weights of a canonical recipe: the model's and the bundled ones that it loads.

    None for a model that was not downloaded yet.
    """
    base = sources.find(model).digest
    used = [path(model, recipe[:index]) for index, entry in enumerate(recipe, 1) if entry.get("recover") == BUNDLED]
    if base is None or not used:
        return base
    return hashlib.sha256("".join([base, *map(file_digest, used)]).encode()).hexdigest()[:12]


def files(model: str) -> dict[str, Path]:
    """Return all bundled recovered weights of a model: file name without its suffix -> file.

    A model that this machine does not have, has none.
    """
    source = sources.find_if_known(model)
    if source is None or source.recovered_folder is None:
        return {}
    return {path.name.removesuffix(SUFFIX): path for path in sorted(source.recovered_folder.glob(f"*{SUFFIX}"))}


def listed(model: str, technique: str) -> list[list[dict[str, Any]]]:
    """Return the recipes that end in `technique` and have bundled weights."""
    recipes = [json.loads(header(file)["recipe"]) for file in files(model).values()]
    return [recipe for recipe in recipes if recipe[-1]["name"] == technique]


def header(file: Path) -> dict[str, str]:
    """Return the metadata of a safetensors file, cached while it is unchanged. Raises BadRequest if it is damaged."""
    try:
        status = file.stat()
    except OSError as error:
        raise BadRequest(f"{file} is damaged: restore it.") from error
    return dict(_header(file, status.st_mtime_ns, status.st_size))


@lru_cache(maxsize=256)
def _header(file: Path, changed_ns: int, size: int) -> dict[str, str]:
    try:
        with lzma.open(file) if file.suffix == ".xz" else file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            return json.loads(stream.read(length))["__metadata__"]
    except OSError as error:
        raise BadRequest(causes.not_read(file, error)) from error
    except (EOFError, ValueError, KeyError, TypeError, struct.error, lzma.LZMAError, MemoryError) as error:
        raise BadRequest(f"{file} is damaged: restore it.") from error


def steps(header: dict[str, str]) -> int:
    """Return the number of training steps of the weights with this header."""
    settings = json.loads(header["settings"])
    return settings["samples"] // settings["batch_size"]


def words(recipe: Iterable[dict[str, Any]], technique: str) -> str:
    """Return the techniques of a recipe on one line, with the knobs of the last one."""
    *before, last = recipe
    knobs = ",".join(f"{name}={value}" for name, value in last.items() if name not in ("name", "recover"))
    return " + ".join([*(entry["name"] for entry in before), f"{technique}:{knobs}" if knobs else technique])


def file_digest(file: Path) -> str:
    """Return the SHA-256 of a file's uncompressed content, cached while it is unchanged; empty if it is damaged."""
    try:
        status = file.stat()
    except OSError:
        return ""
    return _content_digest(file, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=256)
def _content_digest(file: Path, changed_ns: int, size: int) -> str:
    try:
        return hashlib.sha256(lzma.decompress(file.read_bytes())).hexdigest()
    except (OSError, EOFError, lzma.LZMAError):
        return ""
