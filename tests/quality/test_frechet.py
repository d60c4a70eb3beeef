"""Frechet distances against scipy, torchmetrics and pytorch-fid, to 1e-4."""

import numpy as np
import pytest
import pytorch_fid.fid_score
import scipy.stats
import torch
from torchmetrics.image.fid import FrechetInceptionDistance

from dit_core.quality import references
from dit_core.quality.frechet import Statistics, SubsetDistance, frechet_distance, frechet_infinity, statistics
from dit_core.quality.intervals import random_halves
from tests.quality.samples import Identity, random_features, scipy_distance


def torchmetrics_distance(a: torch.Tensor, b: torch.Tensor) -> float:
    metric = FrechetInceptionDistance(feature=Identity(a.shape[1]))
    metric.set_dtype(torch.float64)
    metric.update(b.double(), real=True)
    metric.update(a.double(), real=False)
    return metric.compute().item()


@pytest.mark.parametrize("count", [10, 60], ids=["fewer images than dimensions", "more"])
def test_the_distance_is_that_of_scipy_and_of_torchmetrics(count):
    a, b = random_features(count, 24, 0, 0.3), random_features(80, 24, 1)
    distance = frechet_distance(a, statistics(b))
    assert distance == pytest.approx(scipy_distance(a, b), rel=1e-4)
    assert distance == pytest.approx(torchmetrics_distance(a, b), rel=1e-4)


def test_the_distance_is_that_of_pytorch_fid():
    a, b = random_features(60, 20, 0, 0.4), random_features(60, 20, 1)
    moments = [moment for x in (a.double().numpy(), b.double().numpy()) for moment in (x.mean(0), np.cov(x.T))]
    expected = pytorch_fid.fid_score.calculate_frechet_distance(*moments)
    assert frechet_distance(a, statistics(b)) == pytest.approx(expected, rel=1e-4)


def test_the_distance_of_features_to_themselves_is_zero():
    a = torch.randn(50, 16, generator=torch.Generator().manual_seed(0))
    assert frechet_distance(a, statistics(a)) == pytest.approx(0, abs=1e-4)
    assert frechet_distance(a, statistics(a)) >= 0


def test_features_that_are_not_finite_and_single_images_are_refused():
    with pytest.raises(ValueError, match="not finite"):
        statistics(torch.full((4, 3), torch.nan))
    with pytest.raises(ValueError, match="at least two"):
        statistics(torch.zeros(1, 3))
    with pytest.raises(ValueError, match="at least two"):
        SubsetDistance(torch.randn(4, 3), statistics(torch.randn(9, 3))).of(torch.arange(1))


@pytest.mark.parametrize("count", [12, 70])
def test_the_distance_of_a_subset_is_that_of_its_features(count):
    a, b = random_features(90, 24, 0, 0.4), random_features(80, 24, 1)
    rows = torch.randperm(90, generator=torch.Generator().manual_seed(2))[:count]
    for features in (a, a[:20]):  # more and fewer images than dimensions are computed differently
        chosen = rows if len(features) == 90 else rows[rows < 20]
        expected = scipy_distance(features[chosen], b)
        assert SubsetDistance(features, statistics(b)).of(chosen) == pytest.approx(expected, rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["pooled", "spatial"])
def test_subsets_of_bundled_images_have_the_distance_that_torchmetrics_computes(held_out_features, kind):
    """The interval's fast form and the figure's library form agree on real features."""
    features, reference = getattr(held_out_features, kind), getattr(references.bundled(), kind)
    distance = SubsetDistance(features, reference)
    for rows in (torch.arange(len(features)), random_halves(len(features))[0]):
        assert distance.of(rows) == pytest.approx(frechet_distance(features[rows], reference), rel=1e-4)


def test_the_extrapolation_is_a_line_in_1_over_n():
    a, b = random_features(120, 12, 0, 0.3), random_features(400, 12, 1)
    generator = torch.Generator().manual_seed(0)
    sizes = np.linspace(24, 120, 15).round().astype(int)
    distances = [scipy_distance(a[torch.randperm(120, generator=generator)[:n]], b) for n in sizes]
    expected = scipy.stats.linregress(1 / sizes, distances).intercept
    assert frechet_infinity(SubsetDistance(a, statistics(b))) == pytest.approx(expected, rel=1e-4)


def test_the_extrapolation_is_nearer_to_the_truth_than_the_distance():
    dimensions = 40
    truth = Statistics(torch.zeros(dimensions).double(), torch.eye(dimensions).double(), 10**9)
    errors = []
    for seed in range(5):
        sample = torch.randn(200, dimensions, generator=torch.Generator().manual_seed(seed)).double() + 0.3
        expected = 0.09 * dimensions
        distance = SubsetDistance(sample, truth)
        errors.append((distance.of(torch.arange(200)) - expected, frechet_infinity(distance) - expected))
    biased, extrapolated = np.mean(errors, axis=0)
    assert abs(extrapolated) < 0.5 * biased
