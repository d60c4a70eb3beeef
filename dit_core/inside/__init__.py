"""The panels of the page Inside: the effect of techniques on weights and activations of a network.

One module computes one panel; `files` writes and reads the results. Importing this package does not load torch.
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
    """Content of a panel: plain data, sheets of pictures by name, and whether it uses bundled recovered weights."""

    data: dict[str, Any]
    pictures: dict[str, bytes] = field(default_factory=dict)  # lossless WebP
    recovered: bool = False


def compute(model: str, folder: Path, progress: Callable[[str, int, int], None] = lambda stage, step, of: None) -> int:
    """Compute all panels of a model, write them into `folder` and return the number of bytes.

    Raises BadRequest if the model's weights are random.
    """
    from dit_core.compression.calibration import calibration
    from dit_core.errors import BadRequest
    from dit_core.inside import files
    from dit_core.models import sources
    from dit_core.models.sources import load_model
    from dit_core.recipes.context import Context
    from dit_core.system import runtime

    if sources.is_cost_only(model):
        raise BadRequest(f"{model} has random weights, of which nothing can be shown: name another model.")
    device = runtime.set_up("cpu")
    loaded = load_model(model, device)
    loaded.dit.requires_grad_(False)
    inputs = calibration(loaded.dit, Context(device, SEED, model=loaded), INPUTS)
    written = 0
    for done, name in enumerate(files.PANELS):
        progress(f"inside ({name})", done, len(files.PANELS))
        found = importlib.import_module(f"dit_core.inside.{name}").panel(
            loaded, Context(device, SEED, model=loaded, calibration=inputs)
        )
        written += files.write(folder, name, model, found)
    progress("inside", len(files.PANELS), len(files.PANELS))
    return written
