"""Each metric against an independent computation in double precision, to 1e-4."""

import numpy as np
import pytest
import scipy.stats
import torch
from scipy.linalg import sqrtm
from scipy.spatial.distance import cdist
from torch import nn
from torchmetrics.functional.classification import multiclass_accuracy
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.inception import InceptionScore
from torchmetrics.image.kid import KernelInceptionDistance

from dit_core.data import load_images
from dit_core.quality import references
from dit_core.quality.classifiers import balanced_accuracy, classifier_score, fit_linear
from dit_core.quality.features import EXTRACTOR, MAP_DIMENSIONS, extract
from dit_core.quality.frechet import FrechetDistance, Statistics, frechet_distance, frechet_infinity, statistics
from dit_core.quality.kid import kernel_distance, kernel_distance_by_subsets
from dit_core.quality.manifold import precision_recall, recall_of


def drawn(count: int, dimensions: int, seed: int, shift: float = 0.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(dimensions, dimensions, generator=torch.Generator().manual_seed(99))
    return torch.randn(count, dimensions, generator=generator) @ mix + shift


def scipy_distance(a: torch.Tensor, b: torch.Tensor) -> float:
    x, y = a.double().numpy(), b.double().numpy()
    root = sqrtm(np.cov(x.T) @ np.cov(y.T)).real
    return ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(np.cov(x.T) + np.cov(y.T) - 2 * root)


class Given(nn.Module):
    """An extractor for torchmetrics whose images are features already."""

    num_features = 24

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


@pytest.fixture(scope="module")
def real():
    images = load_images("held_out")
    return extract(torch.from_numpy(images.pixels[:60]).permute(0, 3, 1, 2).contiguous())


@pytest.mark.parametrize("count", [12, 70])
def test_the_distance_of_some_rows_is_that_of_those_features_alone(count):
    a, b = drawn(90, 24, 0, 0.4), drawn(80, 24, 1)
    rows = torch.randperm(90, generator=torch.Generator().manual_seed(2))[:count]
    for features in (a, a[:20]):  # more and fewer images than dimensions take different ways
        chosen = rows if len(features) == 90 else rows[rows < 20]
        expected = scipy_distance(features[chosen], b)
        assert FrechetDistance(features, statistics(b)).of(chosen) == pytest.approx(expected, rel=1e-4)


def test_the_distance_is_that_of_torchmetrics_on_the_same_features():
    a, b = drawn(60, 24, 0, 0.4), drawn(80, 24, 1)
    metric = FrechetInceptionDistance(feature=Given(), normalize=False, input_img_size=(24,))
    metric.set_dtype(torch.float64)
    metric.update(b.double(), real=True)
    metric.update(a.double(), real=False)
    assert frechet_distance(a, statistics(b)) == pytest.approx(metric.compute().item(), rel=1e-4)


def test_kid_is_that_of_torchmetrics_on_the_same_features():
    a, b = drawn(50, 24, 0, 0.4), drawn(50, 24, 1)
    metric = KernelInceptionDistance(feature=Given(), subsets=1, subset_size=50)
    metric.update(b.double(), real=True)
    metric.update(a.double(), real=False)
    assert kernel_distance(a, b) == pytest.approx(metric.compute()[0].item(), rel=1e-4)


def test_the_error_of_kid_is_that_of_disjoint_subsets():
    a, b = drawn(60, 8, 0), drawn(50, 8, 1)
    alone = [kernel_distance(part, b) for part in a.tensor_split(6)]
    value, error = kernel_distance_by_subsets(a, b, subsets=6)
    assert value == pytest.approx(kernel_distance(a, b), rel=1e-9)
    assert error == pytest.approx(np.std(alone, ddof=1) / 6**0.5, rel=1e-9)


def test_the_extrapolation_is_a_line_in_1_over_n():
    a, b = drawn(120, 12, 0, 0.3), drawn(400, 12, 1)
    generator = torch.Generator().manual_seed(0)
    sizes = np.linspace(24, 120, 15).round().astype(int)
    distances = [scipy_distance(a[torch.randperm(120, generator=generator)[:n]], b) for n in sizes]
    expected = scipy.stats.linregress(1 / sizes, distances).intercept
    assert frechet_infinity(FrechetDistance(a, statistics(b))) == pytest.approx(expected, rel=1e-4)


def test_the_extrapolation_is_nearer_to_the_truth_than_the_distance():
    dimensions = 40
    truth = Statistics(torch.zeros(dimensions).double(), torch.eye(dimensions).double(), 10**9)
    off = []
    for seed in range(5):
        sample = torch.randn(200, dimensions, generator=torch.Generator().manual_seed(seed)).double() + 0.3
        expected = 0.09 * dimensions
        distance = FrechetDistance(sample, truth)
        off.append((distance.of(torch.arange(200)) - expected, frechet_infinity(distance) - expected))
    biased, extrapolated = np.mean(off, axis=0)
    assert abs(extrapolated) < 0.5 * biased


@pytest.mark.parametrize("shift", [0.0, 0.8])
def test_precision_and_recall_are_those_of_a_loop(shift):
    a, b = drawn(50, 6, 0, shift).double(), drawn(70, 6, 1).double()

    def inside(points, centres):
        own = np.sort(cdist(centres, centres), axis=1)[:, 3]  # the nearest is the point itself
        return np.mean([(cdist(point[None], centres)[0] <= own).any() for point in points])

    assert precision_recall(a, b) == pytest.approx((inside(a.numpy(), b.numpy()), inside(b.numpy(), a.numpy())))


def test_the_recall_of_subsets_is_that_of_each_alone():
    a, b = drawn(50, 6, 0, 0.8), drawn(70, 6, 1)
    subsets = [torch.arange(50), torch.arange(0, 50, 2), torch.arange(10)]
    assert recall_of(subsets, a, b) == [precision_recall(a[rows], b)[1] for rows in subsets]


def test_copies_have_full_precision_and_recall_and_a_collapsed_set_has_no_recall():
    b = drawn(60, 6, 1)
    assert precision_recall(b, b) == (1.0, 1.0)
    assert precision_recall(b[:1].repeat(20, 1), b)[1] <= 1 / 60


def test_the_classifier_score_is_that_of_scipy_and_of_torchmetrics():
    logits = 3 * drawn(40, 7, 0)
    p = scipy.special.softmax(logits.double().numpy(), axis=1)
    expected = np.exp(np.mean([scipy.stats.entropy(row, p.mean(0)) for row in p]))
    assert classifier_score(logits, splits=1)[0] == pytest.approx(expected, rel=1e-4)
    metric = InceptionScore(feature=Given(), splits=1)
    metric.update(logits)
    assert classifier_score(logits, splits=1)[0] == pytest.approx(metric.compute()[0].item(), rel=1e-4)


def test_the_classifier_score_and_its_spread_are_over_splits():
    logits = 3 * drawn(41, 7, 0)
    scores = []
    for part in np.array_split(scipy.special.softmax(logits.double().numpy(), axis=1), 5):
        scores.append(np.exp(np.mean([scipy.stats.entropy(row, part.mean(0)) for row in part])))
    found = classifier_score(logits, splits=5)
    assert (found.mean, found.spread) == pytest.approx((np.mean(scores), np.std(scores)), rel=1e-4)


def test_the_classifier_score_goes_from_one_to_the_number_of_classes():
    assert classifier_score(torch.zeros(50, 5))[0] == pytest.approx(1)
    assert classifier_score(200 * torch.eye(5).repeat(20, 1))[0] == pytest.approx(5)


def test_balanced_accuracy_is_the_macro_average_of_torchmetrics():
    generator = torch.Generator().manual_seed(0)
    scores, labels = torch.randn(200, 5, generator=generator), torch.randint(5, (200,), generator=generator)
    expected = multiclass_accuracy(scores.argmax(1), labels, num_classes=5, average="macro").item()
    assert balanced_accuracy(scores, labels) == pytest.approx(expected, rel=1e-4)


def test_balanced_accuracy_gives_each_class_the_same_weight():
    scores = torch.eye(2)[torch.tensor([0, 0, 0, 0, 0, 0, 0, 1, 0, 1])]
    labels = torch.tensor([0, 0, 0, 0, 0, 0, 0, 0, 1, 1])
    assert balanced_accuracy(scores, labels) == pytest.approx((7 / 8 + 1 / 2) / 2)


def test_the_linear_classifier_separates_what_a_line_can_separate():
    labels = torch.arange(3).repeat(30)
    features = drawn(90, 10, 0) + 30 * torch.eye(3, 10)[labels]
    weight, bias = fit_linear(features, labels, 3)
    assert balanced_accuracy(features @ weight.T + bias, labels) == 1.0


def test_the_bundled_classifier_tells_its_accuracy_on_images_it_never_saw(real):
    held = references.classifier()
    assert held.held_out_count == len(load_images("held_out"))
    labels = torch.from_numpy(load_images("held_out").labels[:60])
    assert 1 / 18 < held.held_out_accuracy < 1
    assert held.accuracy(real.pooled, labels) > 3 / 18


def test_spatial_features_tell_where_things_are_and_pooled_ones_do_not():
    images = torch.full((1, 3, 32, 32), 255, dtype=torch.uint8)
    images[:, :, 4:12, 4:12] = 0
    there = extract(images)
    elsewhere = extract(images.flip(3))
    assert there.spatial.shape == (1, MAP_DIMENSIONS)
    apart = [
        (a - b).norm() / a.norm() for a, b in ((there.spatial, elsewhere.spatial), (there.pooled, elsewhere.pooled))
    ]
    assert apart[0] > 1.5 * apart[1]


def test_the_map_reference_is_of_the_same_draw_as_the_pooled_one():
    known = references.map_reference().statistics
    assert known.count == references.reference().statistics.count
    assert torch.equal(known.covariance, known.covariance.T)
    assert torch.linalg.eigvalsh(known.covariance).min() > -1e-4


def test_the_files_ship_whole_and_small():
    for path in references.BUILDERS:
        assert path.is_file()
        assert EXTRACTOR in path.name
        assert path.stat().st_size < 2.5e6
