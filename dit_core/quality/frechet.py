"""Frechet distance between Gaussians fitted to features (Heusel et al., arXiv 1706.08500), in double precision.

`frechet_distance` is the figure, computed by torchmetrics. `SubsetDistance` gives the same distance for many subsets of
one set of features, as a jackknife or an extrapolation needs them, several times as fast. `difference_of` compares two
sets that were made from the same seeds: most of their errors are the same and cancel in the difference.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean, stdev

import torch
from torch import Tensor
from torchmetrics.image.fid import _compute_fid

from dit_core.system.statistics import normal_quantile, student_quantile

HALVES = 16  # more than for a single interval: few halves estimate the error badly, which decides the verdict
POWER = 0.8  # the smallest detectable difference is found in this share of repetitions


@dataclass(frozen=True)
class Statistics:
    """Mean (D,) and covariance (D, D) of the features of `count` images, float64; a count of 0 is unknown."""

    mean: Tensor
    covariance: Tensor
    count: int

    @cached_property
    def root(self) -> Tensor:
        """The symmetric square root (D, D) of the covariance."""
        eigenvalues, vectors = torch.linalg.eigh(self.covariance)
        return vectors * eigenvalues.clamp(min=0).sqrt() @ vectors.T


@dataclass(frozen=True)
class Reference:
    """Statistics of real images' pooled and spatial features by one extractor, and a short hash of their file.

    `spatial` is None if it is unknown.
    """

    pooled: Statistics
    spatial: Statistics | None
    digest: str


def statistics(features: Tensor) -> Statistics:
    """Fit a Gaussian to (N, D) features. Raises ValueError for fewer than two images or values that are not finite."""
    if len(features) < 2:
        raise ValueError("a covariance needs at least two images")
    if not torch.isfinite(features).all():
        raise ValueError("the features are not finite")
    values = features.double()
    return Statistics(values.mean(0), torch.cov(values.T), len(values))


class RunningStatistics:
    """Statistics of features that come in parts, so that they need not be in memory together."""

    def __init__(self) -> None:
        self.count, self.sum, self.products = 0, torch.tensor(0.0), torch.tensor(0.0)

    def add(self, features: Tensor) -> None:
        """Add (N, D) features."""
        values = features.double()
        self.count += len(values)
        self.sum = self.sum + values.sum(0)
        self.products = self.products + values.T @ values

    def result(self) -> Statistics:
        """Return the statistics of all features. Raises ValueError for fewer than two images."""
        if self.count < 2:
            raise ValueError("a covariance needs at least two images")
        mean = self.sum / self.count
        covariance = (self.products - self.count * torch.outer(mean, mean)) / (self.count - 1)
        return Statistics(mean, covariance, self.count)


def frechet_distance(features: Tensor, reference: Statistics) -> float:
    """|m - m_r|^2 + tr(S + S_r - 2 (S S_r)^1/2) of (N, D) features. Raises ValueError as `statistics` does."""
    own = statistics(features)
    distance = _compute_fid(own.mean, own.covariance, reference.mean, reference.covariance)
    return max(0.0, distance.item())  # rounding can make the distance of equal statistics negative


class SubsetDistance:
    """Frechet distances of subsets of (N, D) features to a reference; what subsets share is computed once.

    With X the centred features, S S_r has the nonzero eigenvalues of X S_r X^T / (N - 1). That matrix is symmetric, so
    its eigenvalues are fast and real. If N > D, R X^T X R / (N - 1) with R = S_r^1/2 is the smaller one.
    """

    def __init__(self, features: Tensor, reference: Statistics) -> None:
        self.values, self.reference = features.double(), reference
        self.rooted = self.values @ reference.root  # (N, D)
        self.gram = self.rooted @ self.rooted.T if len(features) <= features.shape[1] else None  # (N, N)

    def __len__(self) -> int:
        return len(self.values)

    def of(self, rows: Tensor) -> float:
        """Return the distance of the features in `rows`. Raises ValueError for fewer than two rows."""
        n = len(rows)
        if n < 2:
            raise ValueError("a covariance needs at least two images")
        values = self.values[rows]
        mean = values.mean(0)
        variance = (values - mean).square().sum() / (n - 1)
        overlap = torch.linalg.eigvalsh(self._product(rows)).clamp(min=0).sqrt().sum() / (n - 1) ** 0.5
        spread = variance + self.reference.covariance.trace()
        return max(0.0, ((mean - self.reference.mean).square().sum() + spread - 2 * overlap).item())

    def _product(self, rows: Tensor) -> Tensor:
        """X S_r X^T or R X^T X R of the centred rows, whichever is smaller."""
        if self.gram is not None:
            block = self.gram[rows][:, rows]
            means = block.mean(0)
            return block - means - means[:, None] + means.mean()
        rooted = self.rooted[rows]
        rooted = rooted - rooted.mean(0)
        return rooted @ rooted.T if len(rows) <= rooted.shape[1] else rooted.T @ rooted


def frechet_infinity(distance: SubsetDistance, points: int = 15, seed: int = 0, rows: Tensor | None = None) -> float:
    """Extrapolate the distance to infinitely many images: FD-infinity (Chong and Forsyth, arXiv 1911.07023).

    Fits a line in 1 / N to the distances of `points` random subsets, of a fifth to all of the images, and returns its
    value at 1 / N = 0. The paper uses 5,000 images or more. This removes the bias of the generated images' count; the
    bias of the reference stays. `rows` restricts the images that are used.
    """
    rows = torch.arange(len(distance)) if rows is None else rows
    total = len(rows)
    sizes = torch.linspace(max(2, total // 5), total, points).round().long()
    generator = torch.Generator().manual_seed(seed)
    distances = [distance.of(rows[torch.randperm(total, generator=generator)[:size]]) for size in sizes.tolist()]
    x, y = 1 / sizes.double(), torch.tensor(distances, dtype=torch.float64)
    slope = ((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum()
    return (y.mean() - slope * x.mean()).item()


@dataclass(frozen=True)
class Difference:
    """Candidate minus baseline, with its 95 % interval, and the smallest true difference that would be detected.

    `method` says what the interval was computed from.
    """

    value: float
    low: float
    high: float
    detectable: float
    method: str


def difference_of(candidate: SubsetDistance, baseline: SubsetDistance) -> Difference:
    """Compare two sets of N features, row by row of the same seeds: a delete-half jackknife over the pairs.

    Both distances have the same bias of N images. Raises ValueError for sets of different sizes.
    """
    if len(candidate) != len(baseline):
        raise ValueError(f"{len(candidate)} images cannot be paired with {len(baseline)} of the baseline")
    size, generator = len(candidate), torch.Generator().manual_seed(0)
    halves = [torch.randperm(size, generator=generator)[: size // 2] for _ in range(HALVES)]
    everything = torch.arange(size)
    value = candidate.of(everything) - baseline.of(everything)
    # The factors of a half's error and of halves that share images cancel, as in `intervals.jackknife_error`.
    error = stdev(candidate.of(rows) - baseline.of(rows) for rows in halves)
    return _difference(value, error, HALVES - 1, f"{HALVES} random halves of {size} pairs, Student's t")


def difference_over(values: Sequence[float]) -> Difference:
    """Combine the differences of two or more independent sets of pairs."""
    error = stdev(values) / len(values) ** 0.5
    return _difference(fmean(values), error, len(values) - 1, f"{len(values)} replicates, Student's t")


def _difference(value: float, error: float, degrees_of_freedom: int, method: str) -> Difference:
    half = student_quantile(degrees_of_freedom) * error
    return Difference(value, value - half, value + half, half + normal_quantile(POWER) * error, method)
