"""What each inference optimization of a diffusion transformer costs, and what it buys."""

import logging
from typing import TYPE_CHECKING, Any

from dit_core.lazy import lazy_exports
from dit_core.version import __version__

if TYPE_CHECKING:
    from dit_core.experiment.run import run
    from dit_core.models import load_model
    from dit_core.recipes.recipe import apply_recipe
    from dit_core.records.record import RunRecord
    from dit_core.records.spec import RunSpec
    from dit_core.sampling.loop import generate

__all__ = ["RunRecord", "RunSpec", "__version__", "apply_recipe", "generate", "load_model", "run"]

_HOMES = {  # imported when they are used: an interrupt during an import would be a traceback
    "RunRecord": "dit_core.records.record",
    "RunSpec": "dit_core.records.spec",
    "apply_recipe": "dit_core.recipes.recipe",
    "generate": "dit_core.sampling.loop",
    "load_model": "dit_core.models",
    "run": "dit_core.experiment.run",
}

# What libraries say of each other when they are imported, and nobody who runs a command can change.
for _name in ("torch.utils._pytree", "diffusers.quantizers.torchao"):
    logging.getLogger(_name).setLevel(logging.ERROR)


def __getattr__(name: str) -> Any:
    return lazy_exports(__name__, _HOMES, name)
