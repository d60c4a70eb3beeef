"""FID, sFID and inception score of images, against the bundled images or a reference file."""

import numpy as np
import pytest

from dit_core import quality
from dit_core.cli.commands import main
from dit_core.errors import BadRequest
from dit_core.quality import adm, inception, intervals, references
from dit_core.quality.evaluate import evaluate_against
from dit_core.records.spec import RunSpec
from tests.factory import make_record
from tests.quality.samples import random_images, scipy_distance

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def tiny_sets(monkeypatch):
    monkeypatch.setattr(intervals, "ENOUGH", 2)


def test_fid_and_sfid_are_those_of_scipy_on_the_same_features(tiny, reference_file):
    section = evaluate_against(random_images(40, 1), tiny, adm.read_reference(reference_file()))
    own, real = tiny.extract(random_images(40, 1)), tiny.extract(random_images(50, 9))
    assert section["fid"] == pytest.approx(scipy_distance(own.pooled, real.pooled), rel=1e-4)
    assert section["sfid"] == pytest.approx(scipy_distance(own.spatial, real.spatial), rel=1e-4)
    name = "FID inception-2015-12-05 0badcafe 299px TF1 bilinear, 40 images, reference "
    assert section["fid_metric"].startswith(name)


def test_fid_has_intervals_the_spread_of_its_score_and_a_flag_for_few_images(tiny, reference_file):
    section = evaluate_against(random_images(40, 1), tiny, adm.read_reference(reference_file()))
    for name in ("fid", "sfid", "inception_score"):
        low, high = section["intervals"][name]
        assert low < section[name] < high
        assert section["interval_method"][name]
    assert section["inception_score_spread"] > 0
    assert section["fid_flag"].startswith("small sample: 40 images for 6 features")


def test_replicates_give_the_mean_fid_and_its_interval(tiny, reference_file, monkeypatch):
    monkeypatch.setattr(inception, "load", lambda: tiny)
    monkeypatch.setenv("DIT_FID_REFERENCE", str(reference_file()))
    section = quality.evaluate_images(random_images(40, 1), "DiT-XL/2-256", replicates=2)
    known = adm.read_reference(reference_file())
    values = [evaluate_against(part, tiny, known)["fid"] for part in random_images(40, 1).split(20)]
    assert section["fid"] == pytest.approx(np.mean(values))
    half_width = 12.706 * abs(values[0] - values[1]) / 2
    assert section["intervals"]["fid"][1] - section["fid"] == pytest.approx(half_width, rel=1e-3)
    assert section["interval_method"]["fid"] == "2 replicates, Student's t"


def test_too_few_images_have_no_fid_but_a_reason(tiny, reference_file, monkeypatch):
    monkeypatch.setattr(intervals, "ENOUGH", 100)
    section = evaluate_against(random_images(40, 1), tiny, adm.read_reference(reference_file()))
    assert section["fid"] is section["sfid"] is None
    assert "40 images are too few" in section["reasons"]["fid"]
    assert section["inception_score"] > 0


def test_a_reference_without_spatial_statistics_gives_fid_but_no_sfid(tiny, reference_file):
    reference = adm.read_reference(reference_file(mu_s=None, sigma_s=None))
    section = evaluate_against(random_images(8, 0), tiny, reference)
    assert section["sfid"] is None
    assert section["reasons"] == {"sfid": "the reference has no spatial statistics"}
    assert section["fid"] > 0


def test_a_reference_of_other_features_is_refused(tiny, reference_file):
    reference = adm.read_reference(reference_file(mu=np.zeros(5), sigma=np.eye(5)))
    with pytest.raises(BadRequest, match="statistics of 5 features, but Inception has 6"):
        evaluate_against(random_images(8, 0), tiny, reference)


def test_without_weights_fid_is_null_with_the_reason_and_the_offline_distance_is_computed():
    section = quality.evaluate_images(random_images(8, 0), "emoji", [0] * 8)
    assert section["fid"] is section["fid_metric"] is None
    assert "FID is off" in section["reasons"]["fid"]
    assert section["distance"] > 0
    assert "FID" not in section["metric"]
    make_record(RunSpec(samples=8), quality=section)


def test_with_weights_fid_and_the_offline_distance_are_computed_under_their_own_names(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(inception, "load", lambda: tiny)
    monkeypatch.setattr(references, "drawn_pixels", lambda name: random_images(30, 5))
    monkeypatch.setenv("DIT_CACHE", str(tmp_path))
    section = quality.evaluate_images(random_images(24, 0), "emoji", [0] * 24, replicates=2)
    assert section["fid"] > 0
    assert section["fid_metric"] != section["metric"]
    assert "12 images" in section["fid_metric"]
    assert [path.suffix for path in tmp_path.iterdir()] == [".npz"]


def test_a_published_model_is_compared_with_the_file_that_is_named(tiny, reference_file, monkeypatch):
    monkeypatch.setattr(inception, "load", lambda: tiny)
    section = quality.evaluate_images(random_images(8, 0), "DiT-XL/2-256")
    assert "DIT_FID_REFERENCE" in section["reasons"]["fid"]
    monkeypatch.setenv("DIT_FID_REFERENCE", str(reference_file()))
    section = quality.evaluate_images(random_images(8, 0), "DiT-XL/2-256")
    assert section["fid"] > 0
    assert section["distance"] is None
    make_record(RunSpec(samples=8), quality=section)


def test_a_wrong_file_costs_fid_but_not_the_run(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("DIT_INCEPTION", str(tmp_path / "nowhere"))
    section = quality.evaluate_images(random_images(8, 0), "emoji", [0] * 8)
    assert section["distance"] > 0
    assert "is no file" in section["reasons"]["fid"]
    monkeypatch.setattr(inception, "load", lambda: tiny)
    monkeypatch.setenv("DIT_FID_REFERENCE", str(tmp_path / "nowhere.npz"))
    section = quality.evaluate_images(random_images(8, 0), "DiT-XL/2-256")
    assert "cannot be read" in section["reasons"]["fid"]


def test_a_single_image_is_refused_by_the_command_line_in_one_line(tiny, reference_file, tmp_path, monkeypatch, capsys):
    samples = tmp_path / "one.npz"
    samples.write_bytes(adm.samples_bytes(random_images(1, 0), [0]))
    monkeypatch.setattr(inception, "load", lambda: tiny)
    assert main(["judge", str(samples), "--reference", str(reference_file())]) == 2
    assert capsys.readouterr().err.splitlines() == ["dit_core: FID and inception score need two images or more."]


def test_without_weights_the_command_line_says_what_to_set(reference_file, tmp_path, capsys):
    samples = tmp_path / "samples.npz"
    samples.write_bytes(adm.samples_bytes(random_images(2, 0), [0, 0]))
    assert main(["judge", str(samples), "--reference", str(reference_file())]) == 2
    assert capsys.readouterr().err.splitlines() == ["dit_core: FID is off (DIT_INCEPTION=off)"]


def test_generated_samples_are_evaluated_by_the_command_line(tiny, reference_file, tmp_path, monkeypatch, capsys):
    samples = tmp_path / "samples.npz"
    assert main(["generate", "--npz", str(samples), "--count", "4", "--steps", "1", "--guidance", "1"]) == 0
    assert adm.read_samples(samples).shape == (4, 3, 32, 32)
    monkeypatch.setattr(inception, "load", lambda: tiny)
    reference = str(reference_file())
    assert main(["judge", str(samples), "--reference", reference]) == 0
    assert "FID inception-2015-12-05 0badcafe 299px TF1 bilinear, 4 images" in capsys.readouterr().out
    assert main(["judge", reference, "--reference", reference]) == 2
