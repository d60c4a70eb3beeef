"""How close images stay to the baseline's from the same seeds: shows early what a Frechet distance shows late."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from dit_core.errors import BadRequest
from dit_core.quality.features import EXTRACTOR, SIDE, features
from dit_core.quality.intervals import of_mean
from dit_core.quality.judge import not_finite

FIGURES = ("psnr_db", "ssim", "feature_cosine")


def fidelity(baseline: Tensor | None, candidate: Tensor, broken: int = 0) -> dict[str, Any]:
    """The fidelity section for (N, 3, H, W) uint8 pairs: means over the pairs, each with its 95 % interval.

    PSNR in dB, SSIM, and the cosine between the offline extractor's features. Of `broken` pairs an image had values
    that are not finite before they became bytes: then nothing is compared.
    """
    section: dict[str, Any] = {**dict.fromkeys(FIGURES), "feature_extractor": None, "intervals": None}
    section |= {"interval_method": None, "count": len(candidate), "not_finite_images": broken}
    if baseline is None:
        return {**section, "reason": "this run is the baseline"}
    if broken:
        return {**section, "reason": not_finite(broken, len(candidate))}
    a, b = baseline.double(), candidate.double()  # SSIM's variances are small differences of large squares
    error = (a - b).square().mean((1, 2, 3))  # (N,)
    different = error[error > 0]
    similarity: Any = structural_similarity_index_measure(b, a, data_range=255.0, reduction="none")  # (N,)
    values, reasons = {"ssim": similarity.tolist()}, {}
    if len(different):
        values["psnr_db"] = (10 * torch.log10(255.0**2 / different)).tolist()
        section |= {"identical": len(error) - len(different)} if len(different) < len(error) else {}
    else:
        reasons["psnr_db"] = "all images are identical to the baseline's: PSNR is unbounded"
    try:
        values["feature_cosine"] = F.cosine_similarity(features(baseline), features(candidate)).tolist()  # (N,)
        section["feature_extractor"] = f"{EXTRACTOR} {SIDE}px"
    except (BadRequest, ValueError) as problem:
        reasons |= dict.fromkeys(("feature_cosine", "feature_extractor"), str(problem))
    told = {name: found for name, each in values.items() if (found := of_mean(each, "pairs"))}
    section |= {name: sum(each) / len(each) for name, each in values.items()}
    section["intervals"] = {name: [one.low, one.high] for name, one in told.items()}
    section["interval_method"] = {name: one.method for name, one in told.items()}
    return {**section, **({"reasons": reasons} if reasons else {})}
