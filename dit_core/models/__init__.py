"""Models: a DiT with its autoencoder, class names and noise schedule. `models.sources` imports no torch."""

from typing import Any

from dit_core.lazy import lazy_exports

__all__ = ["PRESETS", "DiT", "DiTConfig", "Model", "ModelConfig", "build_dit", "load_model", "save_model"]

_HOMES = {
    **dict.fromkeys(["PRESETS", "DiT", "DiTConfig"], "dit_core.models.dit"),
    **dict.fromkeys(["Model", "ModelConfig", "build_dit"], "dit_core.models.model"),
    "load_model": "dit_core.models.sources",
    "save_model": "dit_core.models.sources.folder",
}


def __getattr__(name: str) -> Any:
    return lazy_exports(__name__, _HOMES, name)
