import numpy as np
import pytest
import scipy.ndimage
import scipy.stats
import torch
from scipy.linalg import sqrtm

from dit_core import quality
from dit_core.data import load_images
from dit_core.figures import OPTIONAL
from dit_core.models import catalog
from dit_core.quality import intervals
from dit_core.quality.efficientnet import EfficientNetLite0
from dit_core.quality.features import features
from dit_core.quality.frechet import FrechetDistance, frechet_distance, statistics
from dit_core.quality.intervals import half_sample_error
from dit_core.quality.kid import kernel_distance
from dit_core.quality.references import reference
from dit_core.spec import RunSpec
from tests.factory import make_record


@pytest.fixture(scope="module")
def held_out():
    images = load_images("held_out")
    return torch.from_numpy(images.pixels[:160]).permute(0, 3, 1, 2).contiguous()


@pytest.fixture
def small_sets(monkeypatch):
    """Few images are enough, so that a test is quick."""
    monkeypatch.setattr(intervals, "ENOUGH", 10)


@pytest.mark.parametrize("count", [10, 60], ids=["fewer images than dimensions", "more"])
def test_the_distance_is_that_of_scipy(count):
    generator = torch.Generator().manual_seed(0)
    mix = torch.randn(24, 24, generator=generator)
    a = torch.randn(count, 24, generator=generator) @ mix + 0.3
    b = torch.randn(80, 24, generator=generator)
    x, y = a.double().numpy(), b.double().numpy()
    root = sqrtm(np.cov(x.T) @ np.cov(y.T)).real
    expected = ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(np.cov(x.T) + np.cov(y.T) - 2 * root)
    assert frechet_distance(a, statistics(b)) == pytest.approx(expected, rel=1e-4)


def test_the_distance_of_features_to_themselves_is_zero():
    a = torch.randn(50, 16)
    assert frechet_distance(a, statistics(a)) == pytest.approx(0, abs=1e-4)


def test_kid_is_the_double_sum_without_the_diagonal():
    x, y = torch.randn(5, 3).double(), torch.randn(6, 3).double()

    def k(a, b):
        return (float(a @ b) / 3 + 1) ** 3

    within = sum(k(x[i], x[j]) for i in range(5) for j in range(5) if i != j) / 20
    within += sum(k(y[i], y[j]) for i in range(6) for j in range(6) if i != j) / 30
    between = sum(k(a, b) for a in x for b in y) / 30
    assert kernel_distance(x, y) == pytest.approx(within - 2 * between, rel=1e-9)


def test_real_images_are_nearer_than_noise(held_out):
    noise = torch.randint(0, 256, held_out.shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    real, random = quality.judge(held_out, "emoji"), quality.judge(noise, "emoji")
    assert real["distance"] < 0.5 * random["distance"]
    assert real["kid"] < random["kid"]
    assert real["low"] < real["distance"] < real["high"]
    assert "small sample" in real["flag"]
    assert "FID" not in real["metric"]


def test_every_quality_figure_of_a_new_record_is_there_or_null_with_a_reason(held_out):
    for section in (quality.judge(held_out, "emoji"), quality.judge(held_out[:3], "emoji"), quality.not_judged("no")):
        assert set(OPTIONAL["quality"]) <= set(section)
        make_record(RunSpec(samples=160), quality=section)  # refuses a null without a reason


def test_replicates_give_means_and_the_interval_of_the_mean(held_out, small_sets):
    labels = [i % 18 for i in range(80)]
    section = quality.judge(held_out[:80], "emoji", labels, replicates=4)
    alone = [quality.judge(held_out[i : i + 20], "emoji", labels[i : i + 20]) for i in range(0, 80, 20)]
    distances = [one["distance"] for one in alone]
    assert section["count"] == 20
    assert section["replicate_values"]["distance"] == pytest.approx(distances)
    for name in ("distance", "kid", "precision", "recall", "spatial_distance", "class_accuracy"):
        assert section[name] == pytest.approx(np.mean([one[name] for one in alone]))
    half = scipy.stats.t.ppf(0.975, 3) * np.std(distances, ddof=1) / 2
    assert section["high"] - section["distance"] == pytest.approx(half, rel=1e-3)
    assert section["distance"] - section["low"] == pytest.approx(half, rel=1e-3)
    for name in ("spatial_distance", "precision", "classifier_score", "class_accuracy", "distance_infinity"):
        values = [one[name] for one in alone]
        half = scipy.stats.t.ppf(0.975, 3) * np.std(values, ddof=1) / 2
        assert section["intervals"][name] == pytest.approx([np.mean(values) - half, np.mean(values) + half], rel=1e-3)
        assert section["interval_method"][name] == "4 replicates, Student's t"


def test_the_accuracy_by_class_is_that_of_the_images_of_each_class_alone(held_out):
    labels = [i % 3 for i in range(60)]
    section = quality.judge(held_out[:60], "emoji", labels)
    shares = section["class_accuracy_by_class"]
    assert list(shares) == list(catalog.classes("emoji")[:3])
    assert section["class_accuracy"] == pytest.approx(np.mean(list(shares.values())))
    alone = quality.judge(held_out[1:60:3], "emoji", [1] * 20)
    assert shares[catalog.classes("emoji")[1]] == pytest.approx(alone["class_accuracy"])
    assert quality.judge(held_out[:60], "emoji", labels, replicates=3)["class_accuracy_by_class"] == shares


def test_the_halves_of_one_set_spread_like_fresh_sets(held_out):
    """The jackknife's standard error is that of sets drawn anew, within what 12 of them can tell."""
    generator = torch.Generator().manual_seed(0)
    fresh = [torch.randn(100, 20, generator=generator) for _ in range(12)]
    known = statistics(torch.randn(500, 20, generator=generator) + 0.2)
    truth = np.std([frechet_distance(one, known) for one in fresh], ddof=1)
    told = np.mean([half_sample_error(FrechetDistance(one, known).of, 100) for one in fresh])
    assert 0.5 * truth < told < 2 * truth


def test_features_are_finite_and_tell_images_apart(held_out):
    values = features(held_out[:4])
    assert values.shape == (4, 1280)
    assert len({tuple(row.tolist()) for row in values}) == 4


@pytest.mark.parametrize(
    ("images", "reason"),
    [
        (torch.zeros(1, 3, 32, 32, dtype=torch.uint8), "fewer than two"),
        (torch.full((8, 3, 32, 32), 7, dtype=torch.uint8), "single colour"),
        (torch.tensor([200, 30, 5], dtype=torch.uint8).view(1, 3, 1, 1).expand(8, 3, 32, 32), "single colour"),
    ],
)
def test_what_cannot_be_judged_is_null_with_a_reason(images, reason):
    section = quality.judge(images, "emoji")
    assert section["distance"] is None
    assert reason in section["reason"]


def test_features_that_are_not_finite_leave_every_figure_null_with_the_reason(held_out, monkeypatch):
    class Broken(EfficientNetLite0):
        def parts(self, x):
            pooled, middle = super().parts(x)
            return pooled * torch.nan, middle

    monkeypatch.setattr("dit_core.quality.features.load_efficientnet", lambda: Broken().eval())
    section = quality.judge(held_out[:4], "emoji")
    assert section["distance"] is section["kid"] is section["spatial_distance"] is None
    assert section["reason"] == "the features are not finite"
    make_record(RunSpec(samples=4), quality=section)


def test_a_model_without_reference_is_not_judged():
    noise = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
    assert "no reference" in quality.judge(noise, "some/path")["reason"]


def test_fidelity_of_a_known_error():
    a = torch.full((2, 3, 32, 32), 100, dtype=torch.uint8)
    b = a + 10
    assert quality.fidelity(a, b)["psnr_db"] == pytest.approx(10 * np.log10(255**2 / 100), rel=1e-5)
    same = quality.fidelity(a, a)
    assert same["psnr_db"] is None
    assert "identical" in same["reasons"]["psnr_db"]
    assert same["feature_cosine"] == pytest.approx(1)
    assert same["ssim"] == pytest.approx(1)
    assert "baseline" in quality.fidelity(None, a)["reason"]


def test_fidelity_is_that_of_hand_counts_and_of_scipy(held_out):
    a = held_out[:4]
    shift = torch.tensor([1, 2, 5, 9]).view(4, 1, 1, 1)
    b = (a.int() + shift).clamp(0, 255).to(torch.uint8)
    found = quality.fidelity(a, b)
    x, y = a.numpy().astype(float), b.numpy().astype(float)
    psnr = [10 * np.log10(255**2 / ((p - q) ** 2).mean()) for p, q in zip(x, y, strict=True)]
    assert found["psnr_db"] == pytest.approx(np.mean(psnr), rel=1e-5)
    half = scipy.stats.t.ppf(0.975, 3) * np.std(psnr, ddof=1) / 2
    assert found["intervals"]["psnr_db"] == pytest.approx([np.mean(psnr) - half, np.mean(psnr) + half], rel=1e-3)
    ssim = np.mean([scipy_ssim(p, q) for p, q in zip(x, y, strict=True)])
    assert found["ssim"] == pytest.approx(ssim, rel=1e-4)
    u, v = features(a).double().numpy(), features(b).double().numpy()
    cosine = (u * v).sum(1) / np.linalg.norm(u, axis=1) / np.linalg.norm(v, axis=1)
    assert found["feature_cosine"] == pytest.approx(cosine.mean(), rel=1e-4)
    assert found["feature_extractor"] == "efficientnet-lite0 64px"
    make_record(RunSpec(samples=160), fidelity=found)


def scipy_ssim(a: np.ndarray, b: np.ndarray) -> float:
    """Of one (3, H, W) pair, after Wang et al. 2004: a Gaussian of sigma 1.5 and reach 5, the border mirrored."""

    def blurred(image):
        return scipy.ndimage.gaussian_filter(image, (0, 1.5, 1.5), mode="mirror", radius=(0, 5, 5))

    mean_a, mean_b = blurred(a), blurred(b)
    var_a, var_b = blurred(a * a) - mean_a**2, blurred(b * b) - mean_b**2
    shared = blurred(a * b) - mean_a * mean_b
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    return float(
        ((2 * mean_a * mean_b + c1) * (2 * shared + c2) / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))).mean()
    )


def test_every_figure_of_one_set_has_an_interval_around_it_and_its_method(held_out, small_sets):
    section = quality.judge(held_out, "emoji", [i % 18 for i in range(160)])
    around = {"distance_infinity", "kid", "spatial_distance", "precision", "recall", "classifier_score"}
    assert set(section["intervals"]) == set(section["interval_method"]) == around | {"class_accuracy"}
    for name, (low, high) in section["intervals"].items():
        assert low < section[name] < high
    assert "binomial" in section["interval_method"]["precision"]
    make_record(RunSpec(samples=160), quality=section)


def test_too_few_images_give_no_frechet_distance_but_a_reason(held_out):
    section = quality.judge(held_out[:40], "emoji")
    for name in ("distance", "distance_infinity", "spatial_distance", "low"):
        assert section[name] is None
        assert "40 images are too few" in section["reasons"][name]
    assert section["kid"] is not None


def test_the_intervals_of_shares_are_those_of_scipy_and_students_t_is_too():
    found = intervals.of_share(0.2, 50)
    expected = scipy.stats.binomtest(10, 50).proportion_ci(method="wilson")
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-3)
    for freedom in (1, 9, 10, 35, 400):
        assert intervals.student(freedom) == pytest.approx(scipy.stats.t.ppf(0.975, freedom), rel=1e-3)
    sure = intervals.of_balanced_share([1.0, 0.0], [20, 20])
    assert sure.low < 0.5 < sure.high


def test_the_reference_is_class_balanced_and_belongs_to_the_data():
    values, fitted, _ = reference()
    assert len(values) == 18 * 120 == fitted.count
