import re

import numpy as np
import pytest

from dit_core.data import DataError, load_images
from dit_core.data.build import CLASS_OF_SUBGROUP
from dit_core.data.images import ASSETS


@pytest.fixture(scope="module")
def train():
    return load_images("train")


@pytest.fixture(scope="module")
def held_out():
    return load_images("held_out")


def test_every_class_is_in_both_splits(train, held_out):
    assert len(train.classes) == 18
    assert set(train.classes) == set(CLASS_OF_SUBGROUP.values())
    assert train.classes == held_out.classes
    for images in (train, held_out):
        assert set(images.labels) == set(range(18))
        assert images.pixels.shape[1:] == (32, 32, 3)


def test_a_tenth_is_held_out_and_no_image_is_in_both(train, held_out):
    assert len(train) + len(held_out) > 15_000
    assert 0.08 < len(held_out) / (len(train) + len(held_out)) < 0.12
    seen = {image.tobytes() for image in train.pixels}
    assert len(seen) == len(train)
    assert not seen & {image.tobytes() for image in held_out.pixels}


def test_skin_tones_of_one_emoji_stay_together(train, held_out):
    tone = re.compile(r"-(medium-light|medium-dark|light|medium|dark)-skin-tone$")
    emoji = [{tone.sub("", name) for name in images.names if tone.search(name)} for images in (train, held_out)]
    assert len(emoji[1]) > 20
    assert not (emoji[0] & emoji[1]) - {"man", "woman"}  # names that vendors also give to other emoji


def test_images_are_drawn_on_white(train):
    corners = train.pixels[:, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert (corners == 255).all(axis=-1).mean() > 0.9
    assert np.unique(train.pixels[:2000].reshape(2000, -1).std(axis=1) > 0).all()


@pytest.mark.parametrize("change", [lambda data: data[:-100], lambda data: data[:5000] + b"x" + data[5001:]])
def test_a_changed_file_is_refused(tmp_path, change):
    damaged = tmp_path / "emoji.parquet"
    damaged.write_bytes(change((ASSETS / "emoji.parquet").read_bytes()))
    with pytest.raises(DataError, match="has changed"):
        load_images(path=damaged)


def test_a_missing_file_and_an_unknown_split_are_named(tmp_path):
    with pytest.raises(DataError, match="is missing"):
        load_images(path=tmp_path / "emoji.parquet")
    with pytest.raises(DataError, match="use 'train' or 'held_out'"):
        load_images("test")
