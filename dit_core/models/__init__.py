"""Models: a DiT with its autoencoder, class names and noise schedule. `models.sources` imports no torch."""

from typing import TYPE_CHECKING, Any

from dit_core.lazy import lazy_exports

if TYPE_CHECKING:
    from dit_core.models.dit import PRESETS, DiT, DiTConfig
    from dit_core.models.model import Model, ModelConfig, build_dit
    from dit_core.models.sources import load_model
    from dit_core.models.sources.folder import save_model

__all__ = ["PRESETS", "DiT", "DiTConfig", "Model", "ModelConfig", "build_dit", "load_model", "save_model"]

_HOMES = {
    **dict.fromkeys(["PRESETS", "DiT", "DiTConfig"], "dit_core.models.dit"),
    **dict.fromkeys(["Model", "ModelConfig", "build_dit"], "dit_core.models.model"),
    "load_model": "dit_core.models.sources",
    "save_model": "dit_core.models.sources.folder",
}


def __getattr__(name: str) -> Any:
    return lazy_exports(__name__, _HOMES, name)
