"""How close images stay to the baseline's from the same seeds: shows early what a Frechet distance shows late."""

from typing import Any

import torch
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from dit_core.quality.judge import not_finite


def fidelity(baseline: Tensor | None, candidate: Tensor, broken: int = 0) -> dict[str, Any]:
    """The fidelity section for (N, 3, H, W) uint8 pairs: mean PSNR in dB over the pairs, and mean SSIM.

    Of `broken` pairs an image had values that are not finite before they became bytes: then nothing is compared.
    """
    unknown = {"psnr_db": None, "ssim": None, "count": len(candidate), "not_finite_images": broken}
    if baseline is None:
        return {**unknown, "reason": "this run is the baseline"}
    if broken:
        return {**unknown, "reason": not_finite(broken, len(candidate))}
    a, b = baseline.float(), candidate.float()
    error = (a - b).square().mean((1, 2, 3))  # (N,)
    ssim = structural_similarity_index_measure(b, a, data_range=255.0)
    section: dict[str, Any] = {**unknown, "ssim": float(ssim)}  # type: ignore[arg-type]
    if (error > 0).all():
        return {**section, "psnr_db": (10 * torch.log10(255.0**2 / error)).mean().item()}
    same = int((error == 0).sum())
    if same == len(error):
        return {**section, "reason": "all images are identical to the baseline's: PSNR is unbounded"}
    different = error[error > 0]
    psnr = (10 * torch.log10(255.0**2 / different)).mean().item()
    return {**section, "psnr_db": psnr, "identical": same}
