"""What each technique does inside a network, computed from its weights and activations: what the page Inside shows.

One file a panel; `files` reads and writes what they find. Importing this package never imports torch.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SEED = 0
INPUTS = 256  # calibration inputs that all panels share


@dataclass(frozen=True)
class Panel:
    """What a panel shows: plain data, sheets of pictures by name, and whether bundled recovered weights are in it."""

    data: dict[str, Any]
    pictures: dict[str, bytes] = field(default_factory=dict)  # lossless WebP
    recovered: bool = False


def compute(model: str, folder: Path, progress: Callable[[str, int, int], None] = lambda stage, step, of: None) -> int:
    """Compute every panel for a model folder and write them into `folder`; returns the bytes written.

    Raises BadRequest for a model that is no folder: its weights have no digest to tell stale panels by.
    """
    from dit_core import runtime
    from dit_core.errors import BadRequest
    from dit_core.inside import files
    from dit_core.models import catalog
    from dit_core.models.model import load_model
    from dit_core.techniques import Context
    from dit_core.training.calibration import calibration

    if catalog.weights_digest(model) is None:
        raise BadRequest(f"{model} is no model folder: name a bundled model or the path of a folder.")
    device = runtime.set_up("cpu")
    loaded = load_model(model, device)
    loaded.dit.requires_grad_(False)
    inputs = calibration(loaded.dit, Context(device, SEED, loaded), INPUTS)
    written = 0
    for done, name in enumerate(files.PANELS):
        progress(f"inside ({name})", done, len(files.PANELS))
        found = importlib.import_module(f"dit_core.inside.{name}").panel(
            loaded, Context(device, SEED, loaded, calibration=inputs)
        )
        written += files.write(folder, name, model, found)
    progress("inside", len(files.PANELS), len(files.PANELS))
    return written
