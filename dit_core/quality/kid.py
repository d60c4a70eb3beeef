"""Kernel inception distance (Binkowski et al., arXiv 1801.01401), which is unbiased: few images do not raise it.

The kernel is torchmetrics'. Its estimator needs as many generated as real images; the one here takes any two counts.
"""

import torch
from torch import Tensor
from torchmetrics.image.kid import poly_kernel

SUBSETS = 10


def kernel_distance(features: Tensor, reference: Tensor) -> float:
    """Unbiased squared maximum mean discrepancy of (N, D) and (M, D) features under ((x . y) / D + 1)^3.

    Raises ValueError if N or M is below 2.
    """
    return kernel_distance_by_subsets(features, reference, subsets=1)[0]


def kernel_distance_by_subsets(features: Tensor, reference: Tensor, subsets: int = SUBSETS) -> tuple[float, float]:
    """Return the distance and its standard error, from disjoint subsets of the features against the whole reference.

    Each subset has two images or more. The error is 0 if there is only one subset. Raises ValueError if N or M is
    below 2.
    """
    x, y = features.double(), reference.double()
    if min(len(x), len(y)) < 2:
        raise ValueError("KID needs at least two images on both sides")
    xx, xy = poly_kernel(x, x), poly_kernel(x, y)  # (N, N), (N, M)
    within_reference = _mean_of_pairs(poly_kernel(y, y))

    def distance(rows: Tensor) -> float:
        return (_mean_of_pairs(xx[rows][:, rows]) + within_reference - 2 * xy[rows].mean()).item()

    all_rows = torch.arange(len(x))
    parts = all_rows.tensor_split(min(subsets, len(x) // 2))
    values = torch.tensor([distance(part) for part in parts], dtype=torch.float64)
    return distance(all_rows), values.std().item() / len(values) ** 0.5 if len(values) > 1 else 0.0


def _mean_of_pairs(kernel: Tensor) -> Tensor:
    """Mean of a square matrix without its diagonal."""
    n = len(kernel)
    return (kernel.sum() - kernel.trace()) / (n * (n - 1))
