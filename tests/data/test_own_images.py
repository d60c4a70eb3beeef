"""Own images: read in batches, checked by their headers, counted and named where they are broken."""

import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from dit_core.data import own_images
from dit_core.data.own_images import open_images
from dit_core.errors import BadRequest

COUNT = 7


@pytest.fixture(autouse=True)
def listed_anew(monkeypatch):
    """Every question reads the folder again."""
    monkeypatch.setattr(own_images, "LISTED_FOR_S", 1e-9)


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (COUNT, 16, 16, 3), np.uint8)


@pytest.fixture
def folder(tmp_path, pixels):
    for index, image in enumerate(pixels):
        path = tmp_path / "photos" / f"class {index % 2}" / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    (tmp_path / "photos" / "notes.txt").write_text("not an image")
    (tmp_path / "photos" / "._0.png").write_text("what another system leaves")
    return tmp_path / "photos"


def test_a_folder_gives_all_its_images_in_batches_in_the_order_of_their_paths(folder, pixels):
    images = open_images(folder)
    batches = list(images.batches(3))
    assert [len(batch) for batch in batches] == [3, 3, 1]
    assert np.array_equal(np.concatenate(batches), pixels[[0, 2, 4, 6, 1, 3, 5]])


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_sample_file_gives_its_images_in_batches(tmp_path, pixels, save):
    save(tmp_path / "samples.npz", pixels)
    images = open_images(tmp_path / "samples.npz")
    assert len(images) == COUNT
    batches = list(images.batches(3))
    assert [len(batch) for batch in batches] == [3, 3, 1]
    assert np.array_equal(np.concatenate(batches), pixels)


def test_grey_and_palette_images_become_rgb(tmp_path):
    for mode in ("L", "P", "RGBA", "1"):
        Image.new(mode, (16, 16)).save(tmp_path / f"{mode}.png")
    assert next(open_images(tmp_path).batches()).shape == (4, 16, 16, 3)


def test_the_digest_depends_on_the_content_and_not_on_the_place(folder, tmp_path):
    digest = open_images(folder).digest
    moved = folder.rename(tmp_path / "moved")
    assert open_images(moved).digest == digest
    Image.new("RGB", (16, 16)).save(moved / "class 0" / "0.png")
    assert open_images(moved).digest != digest


def test_unreadable_images_are_counted_and_named(folder):
    for name in ("b.png", "c.jpg", "d.webp", "e.bmp"):
        (folder / name).write_text("no image")
    with pytest.raises(BadRequest, match=r"4 of 11 files in .*photos \(b.png, c.jpg, d.webp, \.\.\.\) cannot be read"):
        open_images(folder).check()


def test_an_image_that_ends_early_is_named_when_it_is_decoded(folder):
    path = folder / "class 0" / "2.png"
    path.write_bytes(path.read_bytes()[:-300])
    open_images(folder).check()  # the header is whole
    with pytest.raises(BadRequest, match=r"1 of 7 files in .* \(class 0/2.png\) are damaged"):
        list(open_images(folder).batches())


def test_images_of_another_size_are_counted_and_the_first_is_named(folder):
    Image.new("RGB", (20, 16)).save(folder / "class 1" / "wide.png")
    open_images(folder).check()
    with pytest.raises(BadRequest, match=r"1 of 8 .* are not 16 x 16 pixels .* \(wide.png: 20 x 16\): resize them"):
        open_images(folder).check(16)


def test_a_sample_file_of_another_size_is_refused(tmp_path, pixels):
    np.savez(tmp_path / "samples.npz", pixels)
    with pytest.raises(BadRequest, match="images of 16 x 16 pixels, and the model's have 32 x 32"):
        open_images(tmp_path / "samples.npz").check(32)


def test_no_image_is_refused(tmp_path):
    with pytest.raises(BadRequest, match="has no images"):
        open_images(tmp_path)
    with pytest.raises(BadRequest, match="neither a folder of images nor an npz file"):
        open_images(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "arrays",
    [
        {"other": np.zeros(3)},
        {"arr_0": np.zeros((2, 4, 4, 3))},
        {"arr_0": np.zeros((2, 4, 4), np.uint8)},
        {"arr_0": np.zeros((0, 4, 4, 3), np.uint8)},
        {"arr_0": np.asfortranarray(np.zeros((2, 4, 4, 3), np.uint8))},
    ],
)
def test_a_file_without_images_is_refused(tmp_path, arrays):
    np.savez(tmp_path / "samples.npz", **arrays)
    with pytest.raises(BadRequest, match="has no arr_0 of uint8 images"):
        open_images(tmp_path / "samples.npz")


@pytest.mark.parametrize("content", [b"", b"no archive"])
def test_a_file_that_is_no_archive_is_refused(tmp_path, content):
    (tmp_path / "samples.npz").write_bytes(content)
    with pytest.raises(BadRequest, match="cannot be read as an npz file"):
        open_images(tmp_path / "samples.npz")


def test_a_sample_file_that_ends_early_is_refused(tmp_path, pixels):
    array = io.BytesIO()
    np.save(array, pixels)
    with zipfile.ZipFile(tmp_path / "samples.npz", "w") as file:
        file.writestr("arr_0.npy", array.getvalue()[:-50])
    with pytest.raises(BadRequest, match="is damaged"):
        list(open_images(tmp_path / "samples.npz").batches())
