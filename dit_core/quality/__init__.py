"""Evaluate images: distance to real images with an offline extractor, FID, and fidelity to the baseline."""

from typing import TYPE_CHECKING, Any

from dit_core.lazy import lazy_exports

if TYPE_CHECKING:
    from dit_core.quality.adm import write_samples
    from dit_core.quality.evaluate import build_reference, evaluate_images, non_finite, not_evaluated
    from dit_core.quality.fidelity import compare_images

__all__ = ["build_reference", "compare_images", "evaluate_images", "non_finite", "not_evaluated", "write_samples"]

_HOMES = {
    "build_reference": "dit_core.quality.evaluate",
    "compare_images": "dit_core.quality.fidelity",
    "evaluate_images": "dit_core.quality.evaluate",
    "non_finite": "dit_core.quality.evaluate",
    "not_evaluated": "dit_core.quality.evaluate",
    "write_samples": "dit_core.quality.adm",
}


def __getattr__(name: str) -> Any:
    return lazy_exports(__name__, _HOMES, name)
