"""Fidelity to the baseline: compare images of the same seeds. It shows early what a Frechet distance shows late."""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import torch.nn.functional as F
from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

from dit_core.quality.efficientnet import EXTRACTOR, SIDE, extract
from dit_core.quality.evaluate import non_finite
from dit_core.quality.intervals import mean_interval
from dit_core.quality.judgement import Unavailable
from dit_core.records import metrics as table
from dit_core.records.schema import OPTIONAL, REQUIRED


@dataclass(frozen=True)
class ImagePairs:
    """(N, 3, H, W) uint8 images of the baseline and the candidate from the same seeds."""

    baseline: Tensor
    candidate: Tensor


def psnr_db(pairs: ImagePairs) -> list[float]:
    """Peak signal-to-noise ratio in dB of each pair that is not identical. Raises Unavailable if all pairs are."""
    ratio = peak_signal_noise_ratio(
        pairs.candidate.double(), pairs.baseline.double(), data_range=255.0, reduction="none", dim=(1, 2, 3)
    )  # (N,), infinite for identical images
    if ratio.isinf().all():
        raise Unavailable("all images are identical to the baseline's: PSNR is unbounded")
    return ratio[ratio.isfinite()].tolist()


def ssim(pairs: ImagePairs) -> list[float]:
    """Structural similarity of each pair (Wang et al., doi 10.1109/TIP.2003.819861).

    In double precision, because its variances are small differences of large squares.
    """
    similarity: Any = structural_similarity_index_measure(
        pairs.candidate.double(), pairs.baseline.double(), data_range=255.0, reduction="none"
    )  # (N,)
    return similarity.tolist()


def feature_cosine(pairs: ImagePairs) -> list[float]:
    """Cosine similarity of the offline extractor's features of each pair. Raises ValueError if one is not finite."""
    return F.cosine_similarity(extract(pairs.baseline).pooled, extract(pairs.candidate).pooled).tolist()


METRICS: dict[str, Callable[[ImagePairs], list[float]]] = {
    metric.__name__: metric for metric in (psnr_db, ssim, feature_cosine)
}


def compare_images(baseline: Tensor | None, candidate: Tensor, broken: int = 0) -> dict[str, Any]:
    """Return the fidelity section of a record: means over the pairs, each with its 95 % interval.

    `baseline` and `candidate` are (N, 3, H, W) uint8; `baseline` is None if the run is the baseline itself. In `broken`
    pairs an image had values that are not finite before they became bytes: then nothing is compared.
    """
    fields = (*REQUIRED["fidelity"], *OPTIONAL["fidelity"])
    section: dict[str, Any] = {**dict.fromkeys(fields), "count": len(candidate), "not_finite_images": broken}
    if baseline is None:
        return {**section, "reason": "this run is the baseline"}
    if broken:
        return {**section, "reason": non_finite(broken, len(candidate))}
    pairs, values, reasons = ImagePairs(baseline, candidate), {}, {}
    for name, metric in METRICS.items():
        try:
            values[name] = metric(pairs)
        except ValueError as error:  # also for a missing extractor: the other figures are kept
            reasons[name] = str(error)
    intervals = {name: interval for name, each in values.items() if (interval := mean_interval(each, "pairs"))}
    section |= {name: fmean(each) for name, each in values.items()}  # as the intervals do, so that they contain it
    section["intervals"] = {name: [each.low, each.high] for name, each in intervals.items()}
    section["interval_method"] = {name: each.method for name, each in intervals.items()}
    if "feature_cosine" in values:
        section["feature_extractor"] = f"{EXTRACTOR} {SIDE}px"
    for name in list(reasons):
        reasons |= {companion.name: reasons[name] for companion in table.by_name(name).companions}
    if 0 < len(values.get("psnr_db", ())) < len(candidate):
        section["identical"] = len(candidate) - len(values["psnr_db"])
    return {**section, **({"reasons": reasons} if reasons else {})}
