"""95 % intervals of figures, from replicates where there are several, else from the one set of images.

A set tells its own interval by random halves without repeats (delete-half jackknife), by disjoint parts, by a share's
binomial law, or over pairs of images, whichever fits the figure. Resampling with repeats would shift distances.
"""

import statistics
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

HALVES = 8
Z95 = 1.96
ENOUGH = 100  # images below which a Frechet distance is mostly the bias of its count: more than any useful run's own
JACKKNIFE = f"{HALVES} random halves (delete-half jackknife)"
BINOMIAL = "binomial (Wilson)"
BY_CLASS = "binomial, class by class"
# Quantiles 0.975 of Student's t with 1 to 9 degrees of freedom.
_T975 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)


class Interval(NamedTuple):
    """Both ends, and how they were found."""

    low: float
    high: float
    method: str

    @classmethod
    def around(cls, middle: float, half: float, method: str) -> "Interval":
        return cls(middle - half, middle + half, method)


def student(freedom: int) -> float:
    """Quantile 0.975 of Student's t; from 10 degrees of freedom on by Fisher's expansion, right to 1e-3."""
    if freedom <= len(_T975):
        return _T975[freedom - 1]
    z = statistics.NormalDist().inv_cdf(0.975)
    first, second = (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / freedom + second / freedom**2 + third / freedom**3


def of_mean(values: Sequence[float], of: str) -> Interval | None:
    """Of the mean of independent values, by Student's t; `of` names them in the plural. None for a single one."""
    if len(values) < 2:
        return None
    half = student(len(values) - 1) * statistics.stdev(values) / len(values) ** 0.5
    return Interval.around(statistics.fmean(values), half, f"{len(values)} {of}, Student's t")


def random_halves(size: int) -> list[Tensor]:
    """The halves of `size` images that every jackknife takes: HALVES of (size // 2,) rows."""
    generator = torch.Generator().manual_seed(0)
    return [torch.randperm(size, generator=generator)[: size // 2] for _ in range(HALVES)]


def half_sample_error(of: Callable[[Tensor], float], size: int) -> float:
    """Standard error of a figure at full size, from its values `of` random halves' rows.

    A half varies more than a whole by sqrt(2), and halves of one set spread by 1 / sqrt(2) of that: both cancel.
    """
    return statistics.stdev(of(rows) for rows in random_halves(size))


def by_halves(value: float, on_halves: Sequence[float]) -> Interval:
    """Of a figure with these values on `random_halves`."""
    return Interval.around(value, Z95 * statistics.stdev(on_halves), JACKKNIFE)


def of_share(share: float, count: int) -> Interval:
    """Wilson's interval of the share of `count` independent images."""
    z = Z95**2 / count
    middle = (share + z / 2) / (1 + z)
    half = Z95 * (share * (1 - share) / count + z / (4 * count)) ** 0.5 / (1 + z)
    return Interval(max(0.0, middle - half), min(1.0, middle + half), BINOMIAL)


def of_balanced_share(shares: Sequence[float], counts: Sequence[int]) -> Interval:
    """Of the mean of the classes' shares of `counts` images; a share of 0 or 1 is not taken for certain."""
    softened = [(share * n + 1) / (n + 2) for share, n in zip(shares, counts, strict=True)]
    variance = sum(p * (1 - p) / n for p, n in zip(softened, counts, strict=True)) / len(shares) ** 2
    found = Interval.around(statistics.fmean(shares), Z95 * variance**0.5, BY_CLASS)
    return Interval(max(0.0, found.low), min(1.0, found.high), BY_CLASS)
