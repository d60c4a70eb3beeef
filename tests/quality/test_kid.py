"""The kernel distance against the double sum of its definition and against torchmetrics."""

import numpy as np
import pytest
import torch
from torchmetrics.image.kid import KernelInceptionDistance

from dit_core.quality import references
from dit_core.quality.kid import kernel_distance, kernel_distance_by_subsets
from tests.quality.samples import Identity, random_features


def torchmetrics_distance(a: torch.Tensor, b: torch.Tensor) -> float:
    metric = KernelInceptionDistance(feature=Identity(a.shape[1]), subsets=1, subset_size=len(a))
    metric.update(b.double(), real=True)
    metric.update(a.double(), real=False)
    return metric.compute()[0].item()


def test_kid_is_the_double_sum_without_the_diagonal():
    x, y = random_features(5, 3, 0).double(), random_features(6, 3, 1).double()

    def k(a, b):
        return (float(a @ b) / 3 + 1) ** 3

    within = sum(k(x[i], x[j]) for i in range(5) for j in range(5) if i != j) / 20
    within += sum(k(y[i], y[j]) for i in range(6) for j in range(6) if i != j) / 30
    between = sum(k(a, b) for a in x for b in y) / 30
    assert kernel_distance(x, y) == pytest.approx(within - 2 * between, rel=1e-9)


def test_kid_of_random_features_is_that_of_torchmetrics():
    a, b = random_features(50, 24, 0, 0.4), random_features(50, 24, 1)
    assert kernel_distance(a, b) == pytest.approx(torchmetrics_distance(a, b), rel=1e-4)


def test_kid_of_bundled_images_is_that_of_torchmetrics(held_out_features):
    a = held_out_features.pooled
    b = references.bundled().features[: len(a)]  # torchmetrics needs as many real images
    assert kernel_distance(a, b) == pytest.approx(torchmetrics_distance(a, b), rel=1e-4)


def test_the_error_of_kid_is_that_of_disjoint_subsets():
    a, b = random_features(60, 8, 0), random_features(50, 8, 1)
    parts = [kernel_distance(part, b) for part in a.tensor_split(6)]
    value, error = kernel_distance_by_subsets(a, b, subsets=6)
    assert value == pytest.approx(kernel_distance(a, b), rel=1e-9)
    assert error == pytest.approx(np.std(parts, ddof=1) / 6**0.5, rel=1e-9)


def test_a_single_image_has_no_kid():
    with pytest.raises(ValueError, match="at least two images"):
        kernel_distance(torch.zeros(1, 3), torch.zeros(5, 3))
