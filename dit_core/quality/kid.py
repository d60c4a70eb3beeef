"""Kernel inception distance (Binkowski et al., arXiv 1801.01401): unbiased, so small samples do not raise it."""

import torch
from torch import Tensor


def kernel_distance(features: Tensor, reference: Tensor) -> float:
    """Unbiased squared maximum mean discrepancy of (N, D) and (M, D) features under ((x . y) / D + 1)^3."""
    x, y = features.double(), reference.double()
    n, m = len(x), len(y)
    if min(n, m) < 2:
        raise ValueError("KID needs at least two images on both sides")

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return (a @ b.T / a.shape[1] + 1) ** 3

    xx, yy = kernel(x, x), kernel(y, y)
    within = (xx.sum() - xx.trace()) / (n * (n - 1)) + (yy.sum() - yy.trace()) / (m * (m - 1))
    return (within - 2 * kernel(x, y).mean()).item()


def kernel_distance_by_subsets(features: Tensor, reference: Tensor, subsets: int = 10) -> tuple[float, float]:
    """Mean and standard error over disjoint subsets of the features, each against the whole reference."""
    parts = [part for part in features.tensor_split(min(subsets, len(features) // 2)) if len(part) >= 2]
    values = torch.tensor([kernel_distance(part, reference) for part in parts], dtype=torch.float64)
    error = values.std().item() / len(values) ** 0.5 if len(values) > 1 else 0.0
    return kernel_distance(features, reference), error
