"""Inception score and class accuracy against scipy and torchmetrics, to 1e-4."""

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
from torchmetrics.functional.classification import multiclass_accuracy
from torchmetrics.image.inception import InceptionScore

from dit_core.quality.classifiers import balanced_accuracy, fit_linear, score_over_splits
from tests.quality.samples import Identity, random_features


def torchmetrics_score(logits: torch.Tensor) -> float:
    metric = InceptionScore(feature=Identity(logits.shape[1]), splits=1)
    metric.update(logits)
    return metric.compute()[0].item()


def scipy_score(logits: torch.Tensor) -> float:
    p = scipy.special.softmax(logits.double().numpy(), axis=1)
    return float(np.exp(np.mean([scipy.stats.entropy(row, p.mean(0)) for row in p])))


def test_the_score_of_random_logits_is_that_of_scipy_and_of_torchmetrics():
    logits = 3 * random_features(40, 7, 0)
    score = score_over_splits(logits, splits=1).mean
    assert score == pytest.approx(scipy_score(logits), rel=1e-4)
    assert score == pytest.approx(torchmetrics_score(logits), rel=1e-4)


def test_the_score_of_bundled_images_is_that_of_torchmetrics(held_out_features):
    score = score_over_splits(held_out_features.logits, splits=1).mean
    assert score == pytest.approx(torchmetrics_score(held_out_features.logits), rel=1e-4)


def test_the_score_and_its_spread_are_over_splits():
    logits = 3 * random_features(41, 7, 0)
    scores = [scipy_score(part) for part in logits.tensor_split(5)]
    score = score_over_splits(logits, splits=5)
    assert (score.mean, score.spread) == pytest.approx((np.mean(scores), np.std(scores)), rel=1e-4)


def test_the_score_goes_from_one_to_the_number_of_classes():
    assert score_over_splits(torch.zeros(50, 5)).mean == pytest.approx(1)
    assert score_over_splits(200 * torch.eye(5).repeat(20, 1)).mean == pytest.approx(5)


def test_balanced_accuracy_is_the_macro_average_of_torchmetrics():
    generator = torch.Generator().manual_seed(0)
    scores, labels = torch.randn(200, 5, generator=generator), torch.randint(5, (200,), generator=generator)
    expected = multiclass_accuracy(scores.argmax(1), labels, num_classes=5, average="macro").item()
    assert balanced_accuracy(scores, labels) == pytest.approx(expected, rel=1e-4)


def test_balanced_accuracy_gives_each_class_the_same_weight():
    scores = torch.eye(2)[torch.tensor([0, 0, 0, 0, 0, 0, 0, 1, 0, 1])]
    labels = torch.tensor([0, 0, 0, 0, 0, 0, 0, 0, 1, 1])
    assert balanced_accuracy(scores, labels) == pytest.approx((7 / 8 + 1 / 2) / 2)


def test_the_linear_classifier_separates_classes_that_a_plane_separates():
    labels = torch.arange(3).repeat(30)
    features = random_features(90, 10, 0) + 30 * torch.eye(3, 10)[labels]
    weight, bias = fit_linear(features, labels, 3)
    assert balanced_accuracy(features @ weight.T + bias, labels) == 1.0
