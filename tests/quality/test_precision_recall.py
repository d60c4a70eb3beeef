import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from dit_core.quality.precision_recall import precision_recall, recall_of
from tests.quality.samples import random_features


@pytest.mark.parametrize("shift", [0.0, 0.8])
def test_precision_and_recall_are_those_of_a_loop(shift):
    a, b = random_features(50, 6, 0, shift).double(), random_features(70, 6, 1).double()

    def inside(points, centres):
        radii = np.sort(cdist(centres, centres), axis=1)[:, 3]  # the nearest is the point itself
        return np.mean([(cdist(point[None], centres)[0] <= radii).any() for point in points])

    assert precision_recall(a, b) == pytest.approx((inside(a.numpy(), b.numpy()), inside(b.numpy(), a.numpy())))


def test_the_recall_of_subsets_is_that_of_each_subset():
    a, b = random_features(50, 6, 0, 0.8), random_features(70, 6, 1)
    subsets = [torch.arange(50), torch.arange(0, 50, 2), torch.arange(10)]
    assert recall_of(subsets, a, b) == [precision_recall(a[rows], b)[1] for rows in subsets]


def test_copies_have_full_precision_and_recall_and_a_collapsed_set_has_no_recall():
    b = random_features(60, 6, 1)
    assert precision_recall(b, b) == (1.0, 1.0)
    assert precision_recall(b[:1].repeat(20, 1), b)[1] <= 1 / 60
