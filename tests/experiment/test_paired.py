"""The features of the baseline's images, which candidates of one workload share."""

import pytest
import torch

from dit_core.experiment import paired
from dit_core.models.model import Decoded
from dit_core.recipes.recipe import Recipe
from dit_core.records.spec import RunSpec
from tests.quality.samples import random_images

pytestmark = pytest.mark.slow

SPEC = RunSpec(techniques=({"name": "quantization", "bits": 4},), samples=4)


def features_of(spec, draw, machine="here", weights=None):
    environment = {"fingerprint": machine, "weights": weights or Recipe.of(spec).weights_digest(spec.model)}
    features = paired.baseline_features(spec, environment, draw)
    assert isinstance(features, torch.Tensor)
    return features


@pytest.fixture
def drawn(tmp_path, monkeypatch):
    """A function that draws four images, and the list of its calls; the cache is empty."""
    monkeypatch.setenv("DIT_CACHE", str(tmp_path))
    calls = []

    def draw(finite=True):
        calls.append(finite)
        return Decoded(random_images(4, 0), torch.tensor([True, True, True, finite]))

    return draw, calls


def test_they_are_drawn_once_for_all_recipes_of_a_workload(drawn, tmp_path):
    draw, calls = drawn
    features = features_of(SPEC, draw)
    other = RunSpec(techniques=({"name": "depth_pruning", "keep": 6},), samples=4)
    assert torch.equal(features_of(other, draw), features)
    assert len(calls) == 1
    features_of(RunSpec(samples=4, seed=1), draw)
    features_of(SPEC, draw, machine="there")
    assert len(calls) == 3


def test_they_are_not_kept_if_the_weights_changed_while_they_were_drawn(drawn, tmp_path):
    features_of(SPEC, drawn[0], weights="before")
    assert not list(tmp_path.iterdir())


def test_a_torn_file_is_drawn_again(drawn, tmp_path):
    draw, calls = drawn
    features = features_of(SPEC, draw)
    file = next((tmp_path / "baselines").iterdir())
    file.write_bytes(file.read_bytes()[:100])
    assert torch.equal(features_of(SPEC, draw), features)
    assert len(calls) == 2


def test_a_broken_baseline_or_a_missing_reference_is_a_reason_and_is_not_kept(drawn, tmp_path):
    draw, calls = drawn
    environment = {"fingerprint": "here", "weights": "any"}
    broken = paired.baseline_features(SPEC, environment, lambda: draw(False))
    assert "1 of 4 images have values that are not finite" in broken
    assert not list(tmp_path.iterdir())
    unjudged = RunSpec(model="random:DiT-S/2@256", samples=4)
    assert isinstance(paired.baseline_features(unjudged, environment, draw), str)
    assert len(calls) == 1
