"""What each inference optimization of a diffusion transformer costs, and what it buys."""

import logging
from typing import Any

from dit_core.lazy import lazy_exports
from dit_core.spec import RunRecord, RunSpec

__version__ = "0.1.0"
__all__ = ["RunRecord", "RunSpec", "apply_recipe", "generate", "load_model", "run"]

_HOMES = {
    "apply_recipe": "dit_core.techniques",
    "generate": "dit_core.sampling",
    "load_model": "dit_core.models",
    "run": "dit_core.experiment",
}

# What libraries say of each other when they are imported, and nobody who runs a command can change.
for _name in ("torch.utils._pytree", "diffusers.quantizers.torchao"):
    logging.getLogger(_name).setLevel(logging.ERROR)


def __getattr__(name: str) -> Any:
    return lazy_exports(__name__, _HOMES, name)
