"""Own training images: class folders and the feature folders of fast-DiT, drawn, labelled and checked before a run."""

import numpy as np
import pytest
from PIL import Image

from dit_core.data import own_images, training_images
from dit_core.data.training_images import training_images as open_training_images
from dit_core.errors import BadRequest

CLASSES = ("cat", "dog", "owl")
SHAPE = (4, 8, 8)


@pytest.fixture(autouse=True)
def listed_anew(monkeypatch):
    """Every question reads the folder again."""
    monkeypatch.setattr(own_images, "LISTED_FOR_S", 1e-9)


@pytest.fixture
def photos(tmp_path):
    """Two images of each class, one tall and one wide; the number of an image is its grey."""
    for index in range(6):
        path = tmp_path / "photos" / CLASSES[index % 3] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 60) if index < 3 else (60, 40), (index,) * 3).save(path)
    return tmp_path / "photos"


@pytest.fixture
def features(tmp_path):
    """What `extract_features.py` writes: a latent and a label in a file each."""
    for part in ("features", "labels"):
        (tmp_path / "set" / f"imagenet256_{part}").mkdir(parents=True)
    for index in range(6):
        np.save(tmp_path / "set" / "imagenet256_features" / f"{index}.npy", np.full((1, *SHAPE), index, np.float32))
        np.save(tmp_path / "set" / "imagenet256_labels" / f"{index}.npy", np.array([index % 3]))
    return tmp_path / "set"


def test_class_folders_give_square_images_with_the_labels_of_their_names(photos):
    images = open_training_images(str(photos), ("dog", "owl", "cat"), SHAPE)
    (pixels,) = images.images(32)
    assert pixels.shape == (6, 32, 32, 3)
    assert pixels[:, 0, 0, 0].tolist() == [0, 3, 1, 4, 2, 5]
    assert images.labels == (2, 2, 0, 0, 1, 1)


def test_folders_with_other_names_take_the_labels_in_their_order(photos):
    assert open_training_images(str(photos), ("class 0", "class 1", "class 2"), SHAPE).labels == (0, 0, 1, 1, 2, 2)


def test_some_of_the_classes_are_enough_if_they_have_the_names(photos):
    assert set(open_training_images(str(photos), ("ant", *CLASSES), SHAPE).labels) == {1, 2, 3}


def test_feature_folders_give_the_latents_and_labels_of_fast_dit(features):
    images = open_training_images(str(features), CLASSES, SHAPE)
    assert images.latents
    assert images.features(SHAPE)[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4, 5]
    assert images.labels == (0, 1, 2, 0, 1, 2)


@pytest.mark.parametrize("kind", ["photos", "features"])
def test_of_a_large_set_a_draw_is_used_that_is_always_the_same(kind, request, monkeypatch):
    path = str(request.getfixturevalue(kind))
    drawn = open_training_images(path, CLASSES, SHAPE, 4)
    assert (len(drawn), drawn.count) == (4, 6)
    assert drawn == open_training_images(path, CLASSES, SHAPE, 4)
    monkeypatch.setattr(training_images, "MOST_BYTES", 5 * 8 * int(np.prod(SHAPE)))
    assert len(open_training_images(path, CLASSES, SHAPE)) == 5


@pytest.mark.parametrize("kind", ["photos", "features"])
def test_the_digest_follows_the_content(kind, request):
    path = request.getfixturevalue(kind)
    before = open_training_images(str(path), CLASSES, SHAPE).digest
    assert open_training_images(str(path), CLASSES, SHAPE).digest == before
    file = next(file for file in sorted(path.rglob("*")) if file.suffix in (".png", ".npy"))
    file.write_bytes(next(other for other in path.rglob(f"5{file.suffix}") if "labels" not in str(other)).read_bytes())
    assert open_training_images(str(path), CLASSES, SHAPE).digest != before


def _loose(path):
    Image.new("RGB", (8, 8)).save(path / "loose.png")


def _broken(path):
    (path / "cat" / "0.png").write_bytes(b"no image")


def _fourth(path):
    (path / "eel").mkdir()
    Image.new("RGB", (8, 8)).save(path / "eel" / "9.png")


def _empty(path):
    for file in path.rglob("*.png"):
        file.unlink()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_loose, "1 images in .*photos are in no class folder .loose.png.: move them into one"),
        (_broken, "0.png.* cannot be read as images: repair or remove them"),
        (_fourth, "has 4 class folders, and the model has 3 classes, none of them 'eel'"),
        (_empty, "photos has no images"),
    ],
)
def test_class_folders_that_do_not_fit_are_refused_with_what_to_change(photos, change, message):
    change(photos)
    with pytest.raises(BadRequest, match=message):
        open_training_images(str(photos), CLASSES, SHAPE)


def _no_features(path):
    for file in (path / "imagenet256_features").iterdir():
        file.unlink()


def _no_label(path):
    (path / "imagenet256_labels" / "2.npy").unlink()


def _other_classes(path):
    np.save(path / "imagenet256_labels" / "2.npy", np.array([999]))


def _no_number(path):
    (path / "imagenet256_labels" / "2.npy").write_bytes(b"no array")


def _other_shape(path):
    np.save(path / "imagenet256_features" / "0.npy", np.zeros((1, 4, 16, 16)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_no_features, "has no features"),
        (_no_label, "1 of 6 features in .* have no label in imagenet256_labels .2.npy."),
        (_other_classes, "has labels from 0 to 999, and the model has 3 classes"),
        (_no_number, "1 of 6 files in .*labels hold no label .2.npy."),
        (_other_shape, "do not hold finite latents of 4 x 8 x 8 .0.npy.: extract the features again"),
    ],
)
def test_feature_folders_that_do_not_fit_are_refused_with_what_to_change(features, change, message):
    change(features)
    with pytest.raises(BadRequest, match=message):
        open_training_images(str(features), CLASSES, SHAPE)


def test_latents_that_are_damaged_or_not_finite_are_counted_and_named(features):
    images = open_training_images(str(features), CLASSES, SHAPE)
    (features / "imagenet256_features" / "4.npy").write_bytes(b"no array")
    with pytest.raises(BadRequest, match=r"1 of 6 files in .* do not hold finite latents of 4 x 8 x 8 \(4.npy\)"):
        images.features(SHAPE)
    np.save(features / "imagenet256_features" / "4.npy", np.full((1, *SHAPE), np.nan))
    with pytest.raises(BadRequest, match=r"1 of 6 files in .* do not hold finite latents"):
        images.features(SHAPE)


def test_a_path_that_is_no_folder_is_refused(tmp_path):
    with pytest.raises(BadRequest, match="is no folder: name class folders"):
        open_training_images(str(tmp_path / "absent"), CLASSES, SHAPE)
