"""Differences of Frechet distances from pairs, against known truths, and the verdicts on them."""

import pytest
import torch

from dit_core import quality
from dit_core.quality import references
from dit_core.quality.frechet import Statistics, SubsetDistance, difference_of, difference_over, statistics
from dit_core.records.paired import paired, verdict_on
from dit_core.records.spec import RunSpec
from tests.factory import make_record
from tests.quality.pairs import TRUTHS, differences, rates
from tests.quality.samples import random_features

QUANTIZED = RunSpec(techniques=({"name": "quantization", "bits": 4},), samples=160)


@pytest.fixture(scope="module")
def trials():
    """Differences at 500 images. Few dimensions with the spread of the bundled reference make it quick."""
    variances = 1355.0 * torch.linspace(1, 0.05, 24, dtype=torch.float64) / torch.linspace(1, 0.05, 24).sum()
    reference = Statistics(torch.zeros(24, dtype=torch.float64), variances.diag(), 2000)
    return list(differences(reference, true_distance=500.0, size=500, likeness=0.9, trials=100))


@pytest.mark.slow
def test_equal_sides_are_called_different_in_about_one_of_twenty_cases(trials):
    assert rates(trials)["equal"]["no difference detected"] >= 0.88


@pytest.mark.slow
def test_ten_percent_worse_is_found_and_never_called_better(trials):
    assert rates(trials)["10 % worse"] == {"worse": 1.0}


@pytest.mark.slow
def test_two_percent_worse_is_rarely_called_better_and_not_always_found(trials):
    shares = rates(trials)["2 % worse"]
    assert shares.get("better", 0.0) <= 0.02
    assert 0.1 < shares["worse"] < 0.9  # 10 are less than the smallest detectable difference


@pytest.mark.slow
def test_intervals_contain_the_true_difference_and_the_detectable_one_exceeds_their_half_width(trials):
    for name, ratio in TRUTHS.items():
        inside = [each[name].low <= 500.0 * (ratio - 1) <= each[name].high for each in trials]
        assert sum(inside) >= 0.88 * len(inside)
    for each in trials:
        pair = each["equal"]
        assert pair.detectable > (pair.high - pair.low) / 2


def test_the_pairing_narrows_the_interval():
    reference = statistics(random_features(400, 16, seed=0))
    base, other = random_features(300, 16, seed=1), random_features(300, 16, seed=2)
    near = base + 0.05 * other

    def width(features):
        pair = difference_of(SubsetDistance(features, reference), SubsetDistance(base, reference))
        return pair.high - pair.low

    assert width(near) < 0.3 * width(other)


def test_sides_of_different_sizes_are_refused():
    reference = statistics(random_features(40, 4, seed=0))
    sides = (SubsetDistance(random_features(n, 4, seed=1), reference) for n in (20, 30))
    with pytest.raises(ValueError, match="20 images cannot be paired with 30"):
        difference_of(*sides)


def test_replicates_give_the_interval_of_their_mean():
    pair = difference_over([1.0, 2.0, 3.0])
    assert pair.value == 2
    assert pair.high - pair.value == pytest.approx(4.303 * 1 / 3**0.5, rel=1e-3)
    assert pair.method == "3 replicates, Student's t"


@pytest.mark.slow
def test_a_record_has_the_difference_to_its_baseline_with_the_verdict(held_out, held_out_features):
    noisy = (held_out.float() + 40 * torch.randn(held_out.shape, generator=torch.Generator().manual_seed(0))).clamp(
        0, 255
    )
    section = quality.evaluate_images(noisy.byte(), "emoji", baseline=held_out_features.pooled)
    own = SubsetDistance(held_out_features.pooled, references.bundled().pooled).of(torch.arange(len(held_out)))
    assert section["difference"] == pytest.approx(section["distance"] - own, rel=1e-3)
    found = paired(make_record(QUANTIZED, quality=section))
    assert found is not None
    assert found.verdict == "worse"
    assert found.low < section["difference"] < found.high


@pytest.mark.slow
def test_replicates_are_paired_set_by_set(held_out, held_out_features, small_sets):
    shifted, features = held_out[:40].roll(1, dims=3), held_out_features.pooled[:40]
    section = quality.evaluate_images(shifted, "emoji", replicates=2, baseline=features)
    assert section["difference_method"] == "2 replicates, Student's t"
    make_record(QUANTIZED, quality=section)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("count", "options", "reason"),
    [
        (160, {}, "no images of a baseline"),
        (160, {"baseline": "this run is the baseline"}, "this run is the baseline"),
        (40, {"baseline": torch.zeros(40, 1280)}, "40 images are too few"),
    ],
)
def test_without_a_pair_the_difference_is_null_with_the_reason(held_out, count, options, reason):
    section = quality.evaluate_images(held_out[:count], "emoji", **options)
    assert section["difference"] is section["difference_detectable"] is None
    assert reason in section["reasons"]["difference"]
    assert paired(make_record(QUANTIZED, quality=section)) is None


@pytest.mark.slow
def test_other_images_than_the_baselines_are_no_pairs(held_out):
    section = quality.evaluate_images(held_out, "emoji", baseline=torch.zeros(100, 1280))
    assert "cannot be paired with 100" in section["reason"]
    assert section["difference"] is None


@pytest.mark.slow
def test_disjoint_sets_of_real_images_are_called_different_in_at_most_1_of_20_cases():
    """Nothing cancels in such pairs, and features of images are not normal: the hardest case of equal sides."""
    features, generator = references.bundled().features.double(), torch.Generator().manual_seed(1)
    rows = torch.randperm(len(features), generator=generator)
    reference, images = statistics(features[rows[:1080]]), features[rows[1080:]]
    size, trials, called = 100, 60, 0
    for _ in range(trials):
        rows = torch.randperm(len(images), generator=generator)
        sides = (SubsetDistance(images[rows[start : start + size]], reference) for start in (0, size))
        found = difference_of(*sides)
        called += verdict_on(found.low, found.high) != "no difference detected"
    assert called <= trials / 20


def test_a_record_older_than_the_test_is_read_and_has_no_verdict():
    assert paired(make_record(QUANTIZED)) is None


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(-3, -1, "better"), (-1, 1, "no difference detected"), (1, 3, "worse"), (0, 2, "no difference detected")],
)
def test_the_verdict_follows_the_interval(low, high, verdict):
    assert verdict_on(low, high) == verdict
