"""Which models there are and what a page needs to know of them. Imports no torch."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dit_core.errors import BadRequest

WEIGHTS = Path(__file__).parent / "weights"
PUBLISHED = {  # name -> checkpoint of the original release and the autoencoder that it was trained on
    "DiT-XL/2-256": ("DiT-XL-2-256x256.pt", "stabilityai/sd-vae-ft-ema"),
    "DiT-XL/2-512": ("DiT-XL-2-512x512.pt", "stabilityai/sd-vae-ft-ema"),
}


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
    if not path.is_file():
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


def check(name: str) -> None:
    """Raise BadRequest, before anything is loaded, where `name` is no model."""
    if name not in PUBLISHED and not Path(name).is_file():
        find(name)


def classes(name: str) -> tuple[str, ...]:
    """Class names of a model, in label order."""
    return tuple(find(name).config["classes"])
