"""Frechet distance between Gaussians fitted to features (Heusel et al., arXiv 1706.08500), in double precision."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Statistics:
    """Mean (D,) and covariance (D, D) of the features of `count` images, float64."""

    mean: Tensor
    covariance: Tensor
    count: int


def statistics(features: Tensor) -> Statistics:
    """Fit a Gaussian to (N, D) features; N of at least 2."""
    if len(features) < 2:
        raise ValueError("a covariance needs at least two images")
    values = features.double()
    return Statistics(values.mean(0), torch.cov(values.T), len(values))


def frechet_distance(features: Tensor, reference: Statistics) -> float:
    """|m - m_r|^2 + tr(S + S_r - 2 (S S_r)^1/2) for (N, D) features.

    With X the centred features, S S_r has the nonzero eigenvalues of X S_r X^T / (N - 1): a symmetric matrix of the
    smaller of both sizes, so no square root of a matrix that is not symmetric is taken.
    """
    own = statistics(features)
    values = features.double() - own.mean
    if len(values) <= values.shape[1]:
        product = values @ reference.covariance @ values.T / (len(values) - 1)
    else:
        eigenvalues, vectors = torch.linalg.eigh(reference.covariance)
        root = vectors * eigenvalues.clamp(min=0).sqrt() @ vectors.T
        product = root @ own.covariance @ root
    overlap = torch.linalg.eigvalsh((product + product.T) / 2).clamp(min=0).sqrt().sum()
    distance = (own.mean - reference.mean).square().sum() + own.covariance.trace() + reference.covariance.trace()
    return max(0.0, (distance - 2 * overlap).item())
