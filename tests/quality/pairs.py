"""Simulated pairs of image features with a known true difference of their Frechet distances."""

from collections.abc import Iterator

import torch
from torch import Tensor

from dit_core.quality.frechet import Difference, Statistics, SubsetDistance, difference_of
from dit_core.records.paired import verdict_on

TRUTHS = {"equal": 1.0, "2 % worse": 1.02, "10 % worse": 1.10}  # the candidate's true distance by the baseline's


def differences(reference: Statistics, true_distance: float, size: int, likeness: float, trials: int) -> Iterator[dict]:
    """Yield the `Difference` of each truth, trial by trial.

    Both sides have the covariance of the reference and a shifted mean, so that the true distance is the square of the
    shift. `likeness` is the correlation of the features of one seed.
    """
    generator = torch.Generator().manual_seed(0)
    dimensions = len(reference.mean)
    direction = reference.root @ torch.randn(dimensions, generator=generator, dtype=torch.float64)
    direction /= direction.norm()

    def features(noise: Tensor, distance: float) -> SubsetDistance:
        return SubsetDistance(reference.mean + distance**0.5 * direction + noise @ reference.root, reference)

    for _ in range(trials):
        noise, other = torch.randn(2, size, dimensions, generator=generator, dtype=torch.float64)
        baseline = features(noise, true_distance)
        own = likeness * noise + (1 - likeness**2) ** 0.5 * other
        yield {name: difference_of(features(own, ratio * true_distance), baseline) for name, ratio in TRUTHS.items()}


def rates(trials: list[dict[str, Difference]]) -> dict[str, dict[str, float]]:
    """Return the share of each verdict by truth."""
    verdicts = {name: [verdict_on(each[name].low, each[name].high) for each in trials] for name in TRUTHS}
    return {
        name: {verdict: given.count(verdict) / len(given) for verdict in dict.fromkeys(given)}
        for name, given in verdicts.items()
    }
