"""The fidelity section of a record."""

import numpy as np
import pytest
import scipy.ndimage
import scipy.stats
import torch

from dit_core import quality
from dit_core.quality.efficientnet import extract
from dit_core.quality.fidelity import METRICS
from dit_core.records import metrics as table
from dit_core.records.schema import OPTIONAL, REQUIRED
from dit_core.records.spec import RunSpec
from tests.factory import make_record


def test_fidelity_of_a_known_error():
    a = torch.full((2, 3, 32, 32), 100, dtype=torch.uint8)
    b = a + 10
    assert quality.compare_images(a, b)["psnr_db"] == pytest.approx(10 * np.log10(255**2 / 100), rel=1e-5)
    same = quality.compare_images(a, a)
    assert same["psnr_db"] is None
    assert "identical" in same["reasons"]["psnr_db"]
    assert same["feature_cosine"] == pytest.approx(1)
    assert same["ssim"] == pytest.approx(1)
    assert "baseline" in quality.compare_images(None, a)["reason"]


def test_identical_pairs_are_counted_and_not_part_of_psnr(held_out):
    a = held_out[:4]
    b = torch.cat([a[:3], 255 - a[3:]])
    section = quality.compare_images(a, b)
    assert section["identical"] == 3
    assert section["psnr_db"] == quality.compare_images(a[3:], b[3:])["psnr_db"]


def test_pairs_of_values_that_are_not_finite_are_not_compared(held_out):
    section = quality.compare_images(held_out[:3], held_out[:3], broken=2)
    assert section["ssim"] is None
    assert section["reason"].startswith("2 of 3 images have values that are not finite")


def test_every_fidelity_metric_of_the_table_has_a_function_and_every_function_an_entry():
    assert set(METRICS) == {metric.name for metric in table.METRICS if metric.section == "fidelity"}


def test_a_baseline_has_every_field_with_a_reason():
    section = quality.compare_images(None, torch.zeros(2, 3, 32, 32, dtype=torch.uint8))
    assert {*REQUIRED["fidelity"], *OPTIONAL["fidelity"]} <= set(section)
    make_record(RunSpec(), fidelity=section)


def test_features_that_are_not_finite_cost_the_cosine_but_not_the_other_figures(held_out, monkeypatch):
    def extract(images):
        raise ValueError("the features are not finite")

    monkeypatch.setattr("dit_core.quality.fidelity.extract", extract)
    section = quality.compare_images(held_out[:2], held_out[2:4])
    assert section["feature_cosine"] is section["feature_extractor"] is None
    assert section["ssim"] is not None
    make_record(RunSpec(samples=160), fidelity=section)


def test_fidelity_is_that_of_hand_counts_and_of_scipy(held_out):
    a = held_out[:4]
    shift = torch.tensor([1, 2, 5, 9]).view(4, 1, 1, 1)
    b = (a.int() + shift).clamp(0, 255).to(torch.uint8)
    section = quality.compare_images(a, b)
    x, y = a.numpy().astype(float), b.numpy().astype(float)
    psnr = [10 * np.log10(255**2 / ((p - q) ** 2).mean()) for p, q in zip(x, y, strict=True)]
    assert section["psnr_db"] == pytest.approx(np.mean(psnr), rel=1e-5)
    half_width = scipy.stats.t.ppf(0.975, 3) * np.std(psnr, ddof=1) / 2
    ends = [np.mean(psnr) - half_width, np.mean(psnr) + half_width]
    assert section["intervals"]["psnr_db"] == pytest.approx(ends, rel=1e-3)
    ssim = np.mean([scipy_ssim(p, q) for p, q in zip(x, y, strict=True)])
    assert section["ssim"] == pytest.approx(ssim, rel=1e-4)
    u, v = extract(a).pooled.double().numpy(), extract(b).pooled.double().numpy()
    cosine = (u * v).sum(1) / np.linalg.norm(u, axis=1) / np.linalg.norm(v, axis=1)
    assert section["feature_cosine"] == pytest.approx(cosine.mean(), rel=1e-4)
    assert section["feature_extractor"] == "efficientnet-lite0 64px"
    make_record(RunSpec(samples=160), fidelity=section)


def scipy_ssim(a: np.ndarray, b: np.ndarray) -> float:
    """Of one (3, H, W) pair, after Wang et al. 2004: a Gaussian of sigma 1.5 and radius 5, the border mirrored."""

    def blurred(image):
        return scipy.ndimage.gaussian_filter(image, (0, 1.5, 1.5), mode="mirror", radius=(0, 5, 5))

    mean_a, mean_b = blurred(a), blurred(b)
    var_a, var_b = blurred(a * a) - mean_a**2, blurred(b * b) - mean_b**2
    shared = blurred(a * b) - mean_a * mean_b
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    return float(
        ((2 * mean_a * mean_b + c1) * (2 * shared + c2) / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))).mean()
    )
