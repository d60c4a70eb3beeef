"""The quality section of a record."""

import numpy as np
import pytest
import scipy.stats
import torch

from dit_core import quality
from dit_core.models import sources
from dit_core.quality.efficientnet import EfficientNetLite0
from dit_core.records import own_metrics
from dit_core.records.schema import OPTIONAL
from dit_core.records.spec import RunSpec
from tests.factory import make_record
from tests.quality.samples import random_images

pytestmark = pytest.mark.slow


def test_real_images_are_nearer_than_noise(held_out):
    noise = random_images(len(held_out), 0)
    real, random = quality.evaluate_images(held_out, "emoji"), quality.evaluate_images(noise, "emoji")
    assert real["distance"] < 0.5 * random["distance"]
    assert real["kid"] < random["kid"]
    assert real["low"] < real["distance"] < real["high"]
    assert "small sample" in real["flag"]
    assert "FID" not in real["metric"]


def test_every_quality_figure_of_a_new_record_has_a_value_or_a_reason(held_out):
    sections = (
        quality.evaluate_images(held_out, "emoji"),
        quality.evaluate_images(held_out[:3], "emoji"),
        quality.evaluate_images(held_out[:3], "some/path"),
        quality.not_evaluated("no samples"),
    )
    for section in sections:
        assert set(OPTIONAL["quality"]) - {own_metrics.NAME} <= set(section)  # own metrics need a file
        make_record(RunSpec(samples=160), quality=section)  # refuses a null without a reason


def test_replicates_give_means_and_the_interval_of_the_mean(held_out, small_sets):
    labels = [i % 18 for i in range(80)]
    section = quality.evaluate_images(held_out[:80], "emoji", labels, replicates=4)
    sets = [quality.evaluate_images(held_out[i : i + 20], "emoji", labels[i : i + 20]) for i in range(0, 80, 20)]
    distances = [each["distance"] for each in sets]
    assert section["count"] == 20
    assert section["replicate_values"]["distance"] == pytest.approx(distances)
    for name in ("distance", "kid", "precision", "recall", "spatial_distance", "class_accuracy"):
        assert section[name] == pytest.approx(np.mean([each[name] for each in sets]))
    half_width = scipy.stats.t.ppf(0.975, 3) * np.std(distances, ddof=1) / 2
    assert section["high"] - section["distance"] == pytest.approx(half_width, rel=1e-3)
    assert section["distance"] - section["low"] == pytest.approx(half_width, rel=1e-3)
    for name in ("spatial_distance", "precision", "classifier_score", "class_accuracy", "distance_infinity"):
        values = [each[name] for each in sets]
        half_width = scipy.stats.t.ppf(0.975, 3) * np.std(values, ddof=1) / 2
        ends = [np.mean(values) - half_width, np.mean(values) + half_width]
        assert section["intervals"][name] == pytest.approx(ends, rel=1e-3)
        assert section["interval_method"][name] == "4 replicates, Student's t"
    kids = [each["kid"] for each in sets]
    assert section["kid_standard_error"] == pytest.approx(np.std(kids, ddof=1) / 2)


def test_the_accuracy_by_class_is_that_of_each_class_s_images(held_out):
    labels = [i % 3 for i in range(60)]
    section = quality.evaluate_images(held_out[:60], "emoji", labels)
    shares = section["class_accuracy_by_class"]
    assert list(shares) == list(sources.find("emoji").class_names[:3])
    assert section["class_accuracy"] == pytest.approx(np.mean(list(shares.values())))
    second = quality.evaluate_images(held_out[1:60:3], "emoji", [1] * 20)
    assert shares[sources.find("emoji").class_names[1]] == pytest.approx(second["class_accuracy"])
    several = quality.evaluate_images(held_out[:60], "emoji", labels, replicates=3)
    assert several["class_accuracy_by_class"] == shares


@pytest.mark.parametrize(
    ("images", "reason"),
    [
        (torch.zeros(1, 3, 32, 32, dtype=torch.uint8), "fewer than two"),
        (torch.full((8, 3, 32, 32), 7, dtype=torch.uint8), "single colour"),
        (torch.tensor([200, 30, 5], dtype=torch.uint8).view(1, 3, 1, 1).expand(8, 3, 32, 32), "single colour"),
    ],
)
def test_images_that_cannot_be_evaluated_have_no_figures_but_a_reason(images, reason):
    section = quality.evaluate_images(images, "emoji")
    assert section["distance"] is None
    assert reason in section["reason"]


def test_images_of_values_that_are_not_finite_are_not_evaluated(held_out):
    section = quality.evaluate_images(held_out[:4], "emoji", broken=1)
    assert section["distance"] is section["kid"] is None
    assert section["not_finite_images"] == 1
    assert section["reason"].startswith("1 of 4 images have values that are not finite")
    make_record(RunSpec(samples=4), quality=section)


def test_features_that_are_not_finite_leave_every_figure_null_with_the_reason(held_out, monkeypatch):
    class Broken(EfficientNetLite0):
        def pooled_and_map(self, x):
            pooled, feature_map = super().pooled_and_map(x)
            return pooled * torch.nan, feature_map

    monkeypatch.setattr("dit_core.quality.efficientnet.load_efficientnet", lambda: Broken().eval())
    section = quality.evaluate_images(held_out[:4], "emoji")
    assert section["distance"] is section["kid"] is section["spatial_distance"] is None
    assert section["reason"] == "the features are not finite"
    make_record(RunSpec(samples=4), quality=section)


def test_a_model_without_reference_has_no_offline_figures_but_a_reason():
    section = quality.evaluate_images(random_images(4, 0), "DiT-XL/2-256")
    assert section["distance"] is section["metric"] is None
    assert "DiT-XL/2-256 has no reference images" in section["reason"]


def test_every_figure_of_one_set_is_within_its_interval_which_names_its_method(held_out, small_sets):
    section = quality.evaluate_images(held_out, "emoji", [i % 18 for i in range(160)])
    names = {"distance_infinity", "kid", "spatial_distance", "precision", "recall", "classifier_score"}
    assert set(section["intervals"]) == set(section["interval_method"]) == names | {"class_accuracy"}
    for name, (low, high) in section["intervals"].items():
        assert low < section[name] < high
    assert "binomial" in section["interval_method"]["precision"]
    make_record(RunSpec(samples=160), quality=section)


def test_too_few_images_give_no_frechet_distance_but_a_reason(held_out):
    section = quality.evaluate_images(held_out[:40], "emoji")
    for name in ("distance", "distance_infinity", "spatial_distance", "low"):
        assert section[name] is None
        assert "40 images are too few" in section["reasons"][name]
    assert section["kid"] is not None
