"""A recovery of a few steps, saved after each: `python -m tests.training.short_recovery ROOT` is killed in a save."""

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dit_core.data.images import ImageSet
from dit_core.models import sources
from dit_core.models.sources import bundled, load_model
from dit_core.recipes.context import Context
from dit_core.recipes.recipe import apply_recipe
from dit_core.training import loop, recovery

STEPS, KILLED_AT = 12, 8
RECIPE = ({"name": "depth_pruning", "keep": 1, "importance": "even", "recover": str(STEPS)},)


def images_of(classes: tuple[str, ...]) -> ImageSet:
    """Sixteen images of noise."""
    pixels = np.random.default_rng(0).integers(0, 255, (16, 32, 32, 3)).astype(np.uint8)
    return ImageSet(pixels, np.arange(16) % len(classes), classes, ("made",) * 16, ("noise",) * 16, "0" * 64)


def train(folder: Path, cancelled: Callable[[], bool] = lambda: False) -> Any:
    """The student of the model `tiny`, trained in `folder`."""
    model = load_model("tiny")
    context = Context(torch.device("cpu"), model=model, folder=folder, cancelled=cancelled)
    return apply_recipe(model.dit, RECIPE, context)


def save_every_step(patch: Callable[[object, str, Any], None], root: Path) -> None:
    """Let `train` find the model below `root`, its images, and settings that save as often as can be."""
    settings_for = recovery.settings_for
    patch(bundled, "WEIGHTS", root / "weights")
    patch(recovery, "load_images", lambda split, name: images_of(sources.find("tiny").class_names))
    patch(recovery, "settings_for", lambda *args: replace(settings_for(*args), checkpoint_every_s=0.0))


def main() -> None:
    """End without notice in the save of a step: the temporary file is there, the checkpoint still the one before."""
    root, saves, save = Path(sys.argv[1]), iter(range(1, STEPS)), loop._save

    def killed(*state: Any) -> None:
        if next(saves) == KILLED_AT:
            os.fsync = lambda descriptor: os.kill(os.getpid(), signal.SIGKILL)
        save(*state)

    torch.set_num_threads(1)
    save_every_step(setattr, root)
    loop._save = killed
    train(root / "cut")


if __name__ == "__main__":
    main()
