"""95 % intervals of quality figures.

Several independent sets of images (replicates) give the interval of their mean by Student's t. A single set gives its
own interval by the method that fits the figure: delete-half jackknife (random halves without replacement), disjoint
parts, or a binomial law. A bootstrap with replacement is not used, because repeated images shift Frechet distances.
"""

import statistics
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from dit_core.system.statistics import student_quantile

HALVES = 8
Z95 = 1.96
ENOUGH = 100  # with fewer images a Frechet distance is mostly the bias of the sample size
JACKKNIFE = f"{HALVES} random halves (delete-half jackknife)"
BINOMIAL = "binomial (Wilson)"
BY_CLASS = "binomial, class by class"


class Interval(NamedTuple):
    """Both ends of a 95 % interval, and the method that gave them."""

    low: float
    high: float
    method: str

    @classmethod
    def around(cls, middle: float, half_width: float, method: str) -> "Interval":
        return cls(middle - half_width, middle + half_width, method)

    def within(self, least: float, most: float) -> "Interval":
        """Clip both ends to the range that the figure can have."""
        return Interval(max(least, self.low), min(most, self.high), self.method)


def mean_interval(values: Sequence[float], unit: str) -> Interval | None:
    """Interval of the mean of independent values by Student's t; None for a single value.

    `unit` names the values in the plural, for the method's text: "pairs".
    """
    if len(values) < 2:
        return None
    half_width = student_quantile(len(values) - 1) * statistics.stdev(values) / len(values) ** 0.5
    return Interval.around(statistics.fmean(values), half_width, f"{len(values)} {unit}, Student's t")


def random_halves(size: int) -> list[Tensor]:
    """Draw the halves of `size` images that every jackknife uses: HALVES index tensors (size // 2,)."""
    generator = torch.Generator().manual_seed(0)
    return [torch.randperm(size, generator=generator)[: size // 2] for _ in range(HALVES)]


def jackknife_error(figure_of: Callable[[Tensor], float], size: int) -> float:
    """Standard error of a figure of `size` images, from its values on random halves (rows of the images).

    The figure of a half has sqrt(2) times the standard error of the whole. Halves of one set share images, so they
    differ by 1 / sqrt(2) of what independent halves would. Both factors cancel.
    """
    return statistics.stdev(figure_of(rows) for rows in random_halves(size))


def jackknife_interval(value: float, figure_of: Callable[[Tensor], float], size: int) -> Interval:
    """Interval of a figure of `size` images, from its values on random halves."""
    return Interval.around(value, Z95 * jackknife_error(figure_of, size), JACKKNIFE)


def share_interval(share: float, count: int) -> Interval:
    """Wilson's score interval of a share of `count` independent images (doi 10.1080/01621459.1927.10502953)."""
    z = Z95**2 / count
    middle = (share + z / 2) / (1 + z)
    half_width = Z95 * (share * (1 - share) / count + z / (4 * count)) ** 0.5 / (1 + z)
    return Interval.around(middle, half_width, BINOMIAL).within(0.0, 1.0)


def balanced_share_interval(shares: Sequence[float], counts: Sequence[int]) -> Interval:
    """Interval of the mean over classes, from each class's share of its `counts` images.

    One success and one failure are added to each class, so that a share of 0 or 1 still has a variance.
    """
    smoothed = [(share * n + 1) / (n + 2) for share, n in zip(shares, counts, strict=True)]
    variance = sum(p * (1 - p) / n for p, n in zip(smoothed, counts, strict=True)) / len(shares) ** 2
    return Interval.around(statistics.fmean(shares), Z95 * variance**0.5, BY_CLASS).within(0.0, 1.0)
