"""Which models there are and what a page needs to know of them. Imports no torch."""

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dit_core.errors import BadRequest
from dit_core.models.outline import Outline
from dit_core.models.presets import PRESETS, DiTConfig

WEIGHTS = Path(__file__).parent / "weights"
PUBLISHED = {  # name -> checkpoint of the original release and the autoencoder that it was trained on
    "DiT-XL/2-256": ("DiT-XL-2-256x256.pt", "stabilityai/sd-vae-ft-ema"),
    "DiT-XL/2-512": ("DiT-XL-2-512x512.pt", "stabilityai/sd-vae-ft-ema"),
}
RANDOM = "random:"  # random:DiT-S/2@512 is that preset at 512 pixels with random weights
PIXELS_PER_LATENT = 8  # along a side, of the autoencoder that published DiTs were trained on
MIN_PIXELS, MAX_PIXELS = 64, 2048


@dataclass(frozen=True)
class Entry:
    """A model folder: its `config.json`, read and found whole."""

    folder: Path
    config: dict[str, Any]


def bundled() -> list[str]:
    """Names of the models that ship with the project."""
    return sorted(path.parent.name for path in WEIGHTS.glob("*/config.json"))


def find(name: str) -> Entry:
    """A bundled model by name, or a model folder by path; raises BadRequest with what there is."""
    folder = WEIGHTS / name if name in bundled() else Path(name)
    path = folder / "config.json"
    if not is_file(path):
        known = ", ".join([*bundled(), *PUBLISHED])
        raise BadRequest(f"Unknown model {name!r}: use {known}, or the path of a model folder or checkpoint.")
    try:
        config = json.loads(path.read_text())
        missing = {"classes", "dit", "schedule", "files"} - set(config)
    except (ValueError, TypeError) as error:
        raise BadRequest(f"{path} is not valid JSON: restore it.") from error
    if missing:
        raise BadRequest(f"{path} lacks {sorted(missing)[0]!r}: restore it.")
    return Entry(folder, config)


def is_file(path: Path) -> bool:
    """Whether there is such a file; one that cannot be looked at, or whose name no file can have, is none."""
    try:
        return path.is_file()
    except OSError:
        return False


def check(name: str) -> None:
    """Raise BadRequest, before anything is loaded, where `name` is no model."""
    network(name)


def weights_digest(name: str) -> str | None:
    """Which weights a model folder holds, in 12 letters; None for a model that is no folder."""
    if is_random(name) or name in PUBLISHED or is_file(Path(name)):
        return None
    files = find(name).config["files"]
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()[:12]


def is_random(name: str) -> bool:
    """Whether `name` asks for random weights: a model to measure cost with, not quality."""
    return name.startswith(RANDOM)


def network(name: str) -> DiTConfig | None:
    """Size of a model's network; None for a checkpoint file, which has to be read first. Raises BadRequest."""
    if is_random(name):
        return random_network(name)
    if name in PUBLISHED:
        preset, _, pixels = name.rpartition("-")
        return replace(PRESETS[preset], input_size=int(pixels) // PIXELS_PER_LATENT)
    if is_file(Path(name)):
        return None
    entry = find(name)
    try:
        return DiTConfig(**entry.config["dit"])
    except TypeError as error:
        raise BadRequest(f"{entry.folder / 'config.json'} describes no DiT ({error}): restore it.") from error


def outline(name: str) -> Outline | None:
    """The outline of a model's network; None for a checkpoint file, which has to be read first. Raises BadRequest.

    The folder of an exported model tells in its configuration what techniques have left of the blocks.
    """
    size = network(name)
    if size is None or is_random(name) or name in PUBLISHED:
        return size and Outline.of(size)
    entry = find(name)
    try:
        return Outline.from_dict(size, entry.config["outline"]) if "outline" in entry.config else Outline.of(size)
    except (TypeError, KeyError) as error:
        raise BadRequest(f"{entry.folder / 'config.json'} has an outline that is none: export it again.") from error


def classes(name: str) -> tuple[str, ...]:
    """Class names of a model, in label order."""
    if is_random(name):
        return numbered_classes(random_network(name).num_classes)
    return tuple(find(name).config["classes"])


def sampler(name: str) -> tuple[str, int] | None:
    """Scheduler and steps by which an exported model was taught or set to sample; None where it was left open."""
    if is_random(name) or name in PUBLISHED or is_file(Path(name)):
        return None
    entry = find(name)
    try:
        return (own["scheduler"], own["steps"]) if (own := entry.config.get("sampler")) else None
    except (TypeError, KeyError) as error:
        raise BadRequest(f"{entry.folder / 'config.json'} has a sampler that is none: export it again.") from error


def portable_name(name: str) -> str:
    """A model's name as other machines may read it: of a path, the last part."""
    return Path(name).resolve().name if name not in PUBLISHED and Path(name).exists() else name


def numbered_classes(count: int) -> tuple[str, ...]:
    """Names of classes whose names are not known."""
    return tuple(f"class {i}" for i in range(count))


def random_network(name: str) -> DiTConfig:
    """The preset of a random model at its resolution; raises BadRequest where the name asks for no such thing."""
    preset, at, pixels = name.removeprefix(RANDOM).partition("@")
    if not at or not pixels.isdecimal():
        raise BadRequest(f"Write a random model as {RANDOM}DiT-S/2@512, a preset and pixels along a side, not {name}.")
    if preset not in PRESETS:
        raise BadRequest(f"Unknown preset {preset!r} in {name}: use one of {', '.join(PRESETS)}.")
    side, step = int(pixels), PIXELS_PER_LATENT * PRESETS[preset].patch_size
    if side % step or not MIN_PIXELS <= side <= MAX_PIXELS:
        limits = f"a multiple of {step} (8 times the patch) between {MIN_PIXELS} and {MAX_PIXELS}"
        raise BadRequest(f"{name} has a resolution that does not fit: use {limits}.")
    return replace(PRESETS[preset], input_size=side // PIXELS_PER_LATENT)
