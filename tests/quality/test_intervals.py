import numpy as np
import pytest
import scipy.stats
import torch

from dit_core.quality.frechet import SubsetDistance, frechet_distance, statistics
from dit_core.quality.intervals import balanced_share_interval, jackknife_error, mean_interval, share_interval


def test_the_interval_of_a_share_is_that_of_scipy():
    interval = share_interval(0.2, 50)
    expected = scipy.stats.binomtest(10, 50).proportion_ci(method="wilson")
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high), abs=1e-3)


def test_the_interval_of_a_mean_is_that_of_scipy_and_a_single_value_has_none():
    values = [1.0, 2.0, 4.0]
    interval = mean_interval(values, "pairs")
    expected = scipy.stats.t.interval(0.95, 2, np.mean(values), scipy.stats.sem(values))
    assert interval[:2] == pytest.approx(expected)
    assert interval.method == "3 pairs, Student's t"
    assert mean_interval([1.0], "pairs") is None


def test_shares_of_0_and_1_are_not_certain():
    interval = balanced_share_interval([1.0, 0.0], [20, 20])
    assert interval.low < 0.5 < interval.high


def test_the_jackknife_error_is_the_spread_of_independent_sets():
    """Within a factor of 2, which is what the spread of 12 sets can show."""
    generator = torch.Generator().manual_seed(0)
    sets = [torch.randn(100, 20, generator=generator) for _ in range(12)]
    reference = statistics(torch.randn(500, 20, generator=generator) + 0.2)
    truth = np.std([frechet_distance(each, reference) for each in sets], ddof=1)
    error = np.mean([jackknife_error(SubsetDistance(each, reference).of, 100) for each in sets])
    assert 0.5 * truth < error < 2 * truth
