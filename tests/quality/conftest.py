import numpy as np
import pytest
import torch

from dit_core.quality import efficientnet, intervals
from dit_core.quality.features import Features
from dit_core.quality.inception import Inception
from tests.quality.samples import bundled_images
from tests.quality.tiny_inception import reference_bytes, tiny_inception


@pytest.fixture
def small_sets(monkeypatch):
    """Let few images be enough for a Frechet distance, so that a test is quick."""
    monkeypatch.setattr(intervals, "ENOUGH", 10)


@pytest.fixture(scope="session")
def held_out() -> torch.Tensor:
    return bundled_images(160)


@pytest.fixture(scope="session")
def held_out_features(held_out) -> Features:
    return efficientnet.extract(held_out)


@pytest.fixture
def tiny() -> Inception:
    return tiny_inception()


@pytest.fixture
def reference_file(tiny, tmp_path):
    """Write a reference file of guided-diffusion's format, with some of its arrays replaced, or removed if None."""

    def write(**changes):
        path = tmp_path / "reference.npz"
        path.write_bytes(reference_bytes(tiny))
        if changes:
            with np.load(path) as file:
                arrays = {key: file[key] for key in file.files}
            np.savez(path, **{key: value for key, value in {**arrays, **changes}.items() if value is not None})
        return path

    return write
