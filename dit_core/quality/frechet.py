"""Frechet distance between Gaussians fitted to features (Heusel et al., arXiv 1706.08500), in double precision."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True)
class Statistics:
    """Mean (D,) and covariance (D, D) of the features of `count` images, float64."""

    mean: Tensor
    covariance: Tensor
    count: int

    @cached_property
    def root(self) -> Tensor:
        """The symmetric square root of the covariance (D, D)."""
        eigenvalues, vectors = torch.linalg.eigh(self.covariance)
        return vectors * eigenvalues.clamp(min=0).sqrt() @ vectors.T


def statistics(features: Tensor) -> Statistics:
    """Fit a Gaussian to (N, D) features; N of at least 2."""
    if len(features) < 2:
        raise ValueError("a covariance needs at least two images")
    values = features.double()
    return Statistics(values.mean(0), torch.cov(values.T), len(values))


def frechet_distance(features: Tensor, reference: Statistics) -> float:
    """|m - m_r|^2 + tr(S + S_r - 2 (S S_r)^1/2) for (N, D) features."""
    return FrechetDistance(features, reference).of(torch.arange(len(features)))


class FrechetDistance:
    """The distance of any subset of (N, D) features to a reference, without repeating what subsets share.

    With X the centred features, S S_r has the nonzero eigenvalues of X S_r X^T / (N - 1): a symmetric matrix, so no
    square root of a matrix that is not symmetric is taken. Where N > D the matrix R X^T X R / (N - 1) with R = S_r^1/2
    is the smaller one.
    """

    def __init__(self, features: Tensor, reference: Statistics) -> None:
        self.values, self.reference = features.double(), reference
        self.rooted = self.values @ reference.root  # (N, D)
        few = len(features) <= features.shape[1]
        self.gram = self.rooted @ self.rooted.T if few else None  # (N, N)

    def of(self, rows: Tensor) -> float:
        """The distance of the features in these rows, two or more."""
        n = len(rows)
        if n < 2:
            raise ValueError("a covariance needs at least two images")
        values = self.values[rows]
        mean = values.mean(0)
        variance = (values - mean).square().sum() / (n - 1)
        overlap = torch.linalg.eigvalsh(self._product(rows)).clamp(min=0).sqrt().sum() / (n - 1) ** 0.5
        apart = (mean - self.reference.mean).square().sum() + variance + self.reference.covariance.trace()
        return max(0.0, (apart - 2 * overlap).item())

    def _product(self, rows: Tensor) -> Tensor:
        """X S_r X^T or R X^T X R, whichever is smaller, of the centred rows."""
        if self.gram is not None:
            block = self.gram[rows][:, rows]
            means = block.mean(0)
            return block - means - means[:, None] + means.mean()
        rooted = self.rooted[rows]
        rooted = rooted - rooted.mean(0)
        return rooted @ rooted.T if len(rows) <= rooted.shape[1] else rooted.T @ rooted


def frechet_infinity(distance: FrechetDistance, points: int = 15, seed: int = 0, rows: Tensor | None = None) -> float:
    """The distance extrapolated to infinitely many images (Chong and Forsyth, arXiv 1911.07023).

    A line in 1 / N through the distances of random subsets of a fifth to all of the images, at N = infinity. The paper
    takes 5,000 images and more; only the bias of the generated side goes, that of the reference stays. `rows` leaves
    out all other features.
    """
    rows = torch.arange(len(distance.values)) if rows is None else rows
    total = len(rows)
    sizes = torch.linspace(max(2, total // 5), total, points).round().long()
    generator = torch.Generator().manual_seed(seed)
    found = [distance.of(rows[torch.randperm(total, generator=generator)[:size]]) for size in sizes.tolist()]
    x, y = 1 / sizes.double(), torch.tensor(found, dtype=torch.float64)
    slope = ((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum()
    return (y.mean() - slope * x.mean()).item()
