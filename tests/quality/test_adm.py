"""Files of guided-diffusion's evaluator are written and read as it does."""

import io

import numpy as np
import pytest
import torch

from dit_core.errors import BadRequest
from dit_core.quality import adm
from tests.quality.samples import random_images


def test_reference_files_of_the_evaluator_are_read_as_it_reads_them(tiny, reference_file, tmp_path):
    """Its statistics are `np.cov` of the features, and its reference files also hold images."""
    features = tiny.extract(random_images(50, 9))
    pooled, spatial = features.pooled.double().numpy(), features.spatial.double().numpy()
    path = tmp_path / "VIRTUAL_labeled.npz"
    moments = {"mu": pooled.mean(0), "sigma": np.cov(pooled, rowvar=False)}
    moments |= {"mu_s": spatial.mean(0), "sigma_s": np.cov(spatial, rowvar=False)}
    np.savez(path, arr_0=np.zeros((2, 32, 32, 3), np.uint8), **moments)
    ours, theirs = adm.read_reference(reference_file()), adm.read_reference(path)
    for a, b in ((ours.pooled, theirs.pooled), (ours.spatial, theirs.spatial)):
        assert torch.allclose(a.mean, b.mean)
        assert torch.allclose(a.covariance, b.covariance)
    assert adm.read_samples(path).shape == (2, 3, 32, 32)


def test_samples_that_were_written_are_read_back(tmp_path):
    path, images = tmp_path / "samples.npz", random_images(3, 0)
    path.write_bytes(adm.samples_bytes(images, [2, 0, 1]))
    assert torch.equal(adm.read_samples(path), images)


def test_samples_are_written_as_the_evaluator_reads_them():
    images = random_images(3, 0)
    with np.load(io.BytesIO(adm.samples_bytes(images, [2, 0, 1]))) as file:
        assert file["arr_0"].shape == (3, 32, 32, 3)
        assert file["arr_0"].dtype == np.uint8
        assert (file["arr_0"][1, 4, 5] == images[1, :, 4, 5].numpy()).all()
        assert file["arr_1"].tolist() == [2, 0, 1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mu": None}, "has no mu and sigma"),
        ({"sigma": np.zeros((3, 3))}, "do not fit"),
        ({"mu": np.full(6, np.nan)}, "not finite"),
        ({"mu": np.array(["x"] * 6)}, "not numbers"),
    ],
)
def test_a_broken_reference_is_refused_with_what_is_wrong(reference_file, changes, message):
    with pytest.raises(BadRequest, match=message):
        adm.read_reference(reference_file(**changes))


def test_a_file_with_code_in_it_and_a_missing_file_are_refused(tmp_path):
    path = tmp_path / "evil.npz"
    np.savez(path, arr_0=np.array([print], dtype=object))
    with pytest.raises(BadRequest, match="cannot be read"):
        adm.read_samples(path)
    with pytest.raises(BadRequest, match="cannot be read"):
        adm.read_samples(tmp_path / "nowhere.npz")
