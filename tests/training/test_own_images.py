"""Own training images as examples: encoded or read, with the labels of the model, for recovery and for calibration."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

from dit_core.compression.calibration import calibration
from dit_core.data import own_images
from dit_core.errors import BadRequest
from dit_core.experiment.checks import check
from dit_core.models import recovered
from dit_core.models.sources.folder import save_model
from dit_core.recipes.context import Context
from dit_core.recipes.recipe import apply_recipe, canonical
from dit_core.records.spec import RunSpec
from dit_core.training import recovery
from dit_core.training.base import latents_of, own_latents
from tests.training.short_recovery import images_of

RECIPE = canonical([{"name": "depth_pruning", "keep": 1, "importance": "even", "recover": "2"}])


@pytest.fixture
def photos(tmp_path, tiny_model, monkeypatch):
    """The images of noise as class folders, which are listed at every question."""
    monkeypatch.setattr(own_images, "LISTED_FOR_S", 1e-9)
    images = images_of(tiny_model.classes)
    for index, (pixels, label) in enumerate(zip(images.pixels, images.labels, strict=True)):
        path = tmp_path / "photos" / tiny_model.classes[label] / f"{index:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    return tmp_path / "photos"


@pytest.fixture
def features(tmp_path, tiny_model):
    for part in ("features", "labels"):
        (tmp_path / "set" / f"own_{part}").mkdir(parents=True)
    for index in range(5):
        np.save(tmp_path / "set" / "own_features" / f"{index}.npy", np.full((1, *tiny_model.latent_shape), 0.1 * index))
        np.save(tmp_path / "set" / "own_labels" / f"{index}.npy", np.array([index % 2]))
    return tmp_path / "set"


@pytest.fixture
def context(tiny_model, tmp_path):
    """The tiny model in a folder that has no images of its own."""
    save_model(tiny_model, tmp_path / "mine")
    model_name = str(tmp_path / "mine")
    return Context(torch.device("cpu"), model=tiny_model, folder=tmp_path / "training", source=model_name)


def test_class_folders_become_the_latents_of_the_same_images(tiny_model, context, photos):
    batches = recovery.examples(replace(context, images=str(photos)), 4, "")
    bundled = images_of(tiny_model.classes)
    side = tiny_model.image_size
    same_size = bundled.pixels.shape[1] == side
    expected = latents_of(tiny_model.vae, bundled)
    order = sorted(range(16), key=lambda index: (tiny_model.classes[bundled.labels[index]], index))
    assert same_size
    assert batches.latents.labels.tolist() == bundled.labels[order].tolist()
    torch.testing.assert_close(batches.latents.mean, expected.mean[order], atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(batches.latents.std, expected.std[order], atol=1e-4, rtol=1e-3)
    assert batches.null == len(tiny_model.classes)


def test_features_are_taken_as_they_are(tiny_model, context, features):
    own = replace(context, images=str(features))
    latents = own_latents(tiny_model, recovery._own_images(own))
    assert torch.allclose(latents.mean[:, 0, 0, 0], torch.arange(5) * 0.1)
    assert not latents.std.any()
    assert recovery.examples(own, 4, "").null == len(tiny_model.classes)


def test_a_model_without_a_null_label_never_learns_one(tiny_model, context, features):
    config = tiny_model.config
    unguided = replace(tiny_model, config=replace(config, dit=replace(config.dit, null_label=False)))
    batches = recovery.examples(replace(context, model=unguided, images=str(features)), 256, "")
    _, labels = batches.draw_clean(torch.Generator().manual_seed(0))
    assert labels.max() < len(tiny_model.classes)


@pytest.mark.parametrize("kind", ["photos", "features"])
def test_calibration_inputs_are_own_images_with_noise(kind, request, tiny_model, context):
    own = replace(context, images=str(request.getfixturevalue(kind)))
    own.draw_calibration = partial(recovery.calibration_inputs, own)
    x, t, y = calibration(tiny_model.dit, own, 12)
    assert x.shape == (12, *tiny_model.latent_shape)
    assert len(set(t.tolist())) > 1
    assert y.max() <= len(tiny_model.classes)
    again = calibration(tiny_model.dit, own, 12)
    assert torch.equal(x, again[0])


@pytest.mark.slow
def test_recovery_trains_on_own_images_and_keeps_one_result_for_each_set(tiny_model, context, photos):
    own = replace(context, images=str(photos))
    first = apply_recipe(tiny_model.dit, RECIPE, own)
    (photos / tiny_model.classes[0] / "00.png").unlink()
    other = apply_recipe(tiny_model.dit, RECIPE, own)
    assert len(list(context.folder.iterdir())) == 2
    assert not torch.equal(*(model.get_parameter("blocks.0.attn.proj.weight") for model in (first, other)))


def test_a_model_without_images_asks_for_own_ones_before_a_run(context, photos):
    spec = RunSpec(model=context.source, techniques=RECIPE)
    with pytest.raises(BadRequest, match="has no training images: set recover to none, or set training_images to"):
        check(spec)
    check(replace(spec, training_images=str(photos)))
    with pytest.raises(BadRequest, match="is no folder"):
        check(replace(spec, training_images=str(photos / "absent")))


def test_random_weights_learn_from_no_images(photos):
    spec = RunSpec(model="random:DiT-S/2@256", techniques=RECIPE)
    with pytest.raises(BadRequest, match=r"are random: set recover to none\.$"):
        check(spec)
    with pytest.raises(BadRequest, match="has no autoencoder, so it learns from no images: leave out training_images"):
        check(replace(spec, training_images=str(photos)))
    assert recovered.trains(RECIPE)
