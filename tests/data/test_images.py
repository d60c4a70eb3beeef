import math
import re

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from dit_core.data import DataError, load_images
from dit_core.data.build import CLASS_OF_SUBGROUP, COLOURS, DRAWINGS, fewest_colours
from dit_core.data.images import ASSETS, EMOJI, SETS
from dit_core.errors import BadRequest


@pytest.fixture(
    scope="module", params=[EMOJI, *(pytest.param(name, marks=pytest.mark.slow) for name in SETS if name != EMOJI)]
)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def train(name):
    return load_images("train", name)


@pytest.fixture(scope="module")
def held_out(name):
    return load_images("held_out", name)


def splits(name):
    table = pq.read_table(ASSETS / f"{name}.parquet", columns=["source", "name", "label", "split"]).to_pydict()
    icons = zip(table["source"], table["name"], strict=True)
    return dict(zip(icons, zip(table["label"], table["split"], strict=True), strict=True))


def test_every_class_is_in_both_splits(name, train, held_out):
    assert len(train.classes) == 18
    assert set(train.classes) == set(CLASS_OF_SUBGROUP.values())
    assert train.classes == held_out.classes
    for images in (train, held_out):
        assert set(images.labels) == set(range(18))
        assert images.pixels.shape[1:] == (DRAWINGS[name].side, DRAWINGS[name].side, 3)


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


def test_the_same_icons_are_in_the_same_class_and_split_in_all_sets():
    first, second = splits("emoji"), splits("emoji64")
    assert second.items() <= first.items()
    assert len(first) - len(second) < 30  # different at 32 pixels, the same at 64 with few colours


def test_an_icon_looks_alike_in_all_sets():
    small, large = load_images("held_out", "emoji"), load_images("held_out", "emoji64")
    place = {icon: i for i, icon in enumerate(zip(small.sources, small.names, strict=True))}
    order = [place[icon] for icon in zip(large.sources, large.names, strict=True)]
    halved = large.pixels.astype(np.float64).reshape(-1, 32, 2, 32, 2, 3).mean(axis=(2, 4))
    error = np.square(halved - small.pixels[order]).mean(axis=(1, 2, 3))
    assert error.max() < 255**2 / 10**2.5  # 25 dB
    assert np.median(error) < 255**2 / 10**4


def test_an_image_gets_the_fewest_colours_that_are_close_enough():
    ramp = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8).repeat(3).reshape(8, 8, 3))

    def colours(least_psnr):
        return len(fewest_colours(ramp, least_psnr).getcolors() or ())

    assert colours(20.0) <= COLOURS[0]
    assert COLOURS[0] < colours(48.0) <= 64
    assert fewest_colours(ramp, math.inf).tobytes() == ramp.tobytes()


@pytest.mark.parametrize("change", [lambda data: data[:-100], lambda data: data[:5000] + b"x" + data[5001:]])
def test_a_changed_file_is_refused(tmp_path, change):
    (tmp_path / "emoji.parquet").write_bytes(change((ASSETS / "emoji.parquet").read_bytes()))
    with pytest.raises(DataError, match="has changed"):
        load_images(folder=tmp_path)


def test_a_missing_file_and_an_unknown_set_or_split_are_named(tmp_path):
    with pytest.raises(DataError, match="is missing"):
        load_images(folder=tmp_path)
    with pytest.raises(BadRequest, match="no bundled image set 'emoji32': use emoji or emoji64"):
        load_images(name="emoji32")
    with pytest.raises(DataError, match="use 'train' or 'held_out'"):
        load_images("test")
