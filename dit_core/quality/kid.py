"""Kernel inception distance (Binkowski et al., arXiv 1801.01401): unbiased, so small samples do not raise it."""

import torch
from torch import Tensor


def kernel_distance(features: Tensor, reference: Tensor) -> float:
    """Unbiased squared maximum mean discrepancy of (N, D) and (M, D) features under ((x . y) / D + 1)^3."""
    return kernel_distance_by_subsets(features, reference, subsets=1)[0]


SUBSETS = 10


def kernel_distance_by_subsets(features: Tensor, reference: Tensor, subsets: int = SUBSETS) -> tuple[float, float]:
    """The distance, and its standard error from disjoint subsets of the features, each against the whole reference."""
    x, y = features.double(), reference.double()
    if min(len(x), len(y)) < 2:
        raise ValueError("KID needs at least two images on both sides")
    xx, xy, within = _kernel(x, x), _kernel(x, y), _mean_of_pairs(_kernel(y, y))

    def distance(rows: Tensor) -> float:
        return (_mean_of_pairs(xx[rows][:, rows]) + within - 2 * xy[rows].mean()).item()

    everything = torch.arange(len(x))
    parts = [part for part in everything.tensor_split(min(subsets, len(x) // 2)) if len(part) >= 2]
    values = torch.tensor([distance(part) for part in parts], dtype=torch.float64)
    return distance(everything), values.std().item() / len(values) ** 0.5 if len(values) > 1 else 0.0


def _kernel(a: Tensor, b: Tensor) -> Tensor:
    return (a @ b.T / a.shape[1] + 1) ** 3


def _mean_of_pairs(kernel: Tensor) -> Tensor:
    """Mean of a square matrix without its diagonal."""
    n = len(kernel)
    return (kernel.sum() - kernel.trace()) / (n * (n - 1))
