"""How many images are denoised and decoded together: the timed batch is one batch, all else is bounded by memory."""

import io
from dataclasses import replace

import pytest
import torch
from PIL import Image

from dit_core.experiment import prepare, trajectories
from dit_core.experiment.prepare import Prepared, draw
from dit_core.listener import Listener
from dit_core.models import model as models
from dit_core.records.spec import RunSpec
from dit_core.sampling.config import SamplingConfig

pytestmark = pytest.mark.slow


@pytest.fixture
def prepared(tiny_model):
    sampling = SamplingConfig(steps=2)
    return Prepared(RunSpec(batch_size=64, steps=2), tiny_model, tiny_model, sampling, sampling, 0.0)


@pytest.fixture
def rows(tiny_model):
    """Numbers of images of every call of the network, with both branches of guidance in each."""
    seen = []
    handle = tiny_model.dit.register_forward_pre_hook(lambda module, args: seen.append(len(args[0]) // 2))
    yield seen
    handle.remove()


@pytest.mark.parametrize("size", [1, 36, 64])
def test_the_timed_call_denoises_one_batch_of_the_requested_size(prepared, rows, size):
    replace(prepared, spec=RunSpec(batch_size=size, steps=2)).generate_once()
    assert rows == [size, size]


def test_other_images_are_denoised_in_batches_bounded_by_memory(prepared, rows, monkeypatch):
    assert prepared.batch == prepare.MOST_DENOISED
    monkeypatch.setattr(prepare, "DENOISED_VALUES", 5 * 2 * 16 * 256 + 1)  # 16 tokens with 256 neurons
    assert prepared.batch == 5
    prepared.decoded(prepared.candidate, 12)
    assert rows == [5, 5, 5, 5, 2, 2]
    monkeypatch.setattr(prepare, "DENOISED_VALUES", 1)
    assert prepared.batch == 1


def test_the_preview_of_a_training_has_the_same_bound(tiny_model, prepared, rows, monkeypatch):
    monkeypatch.setattr(prepare, "MOST_DENOISED", 20)
    prepare._glimpse(tiny_model, prepared.spec)
    assert max(rows) == 20


@pytest.mark.parametrize(
    ("side", "width"), [(32, 576), (64, 1152), (128, 1536), (256, 1536), (512, 1536), (1024, 1536)]
)
def test_a_preview_of_images_of_any_size_is_small_enough_for_a_page(side, width):
    images = torch.zeros(2, 3, side, side, dtype=torch.uint8)
    images[1] = 200
    with Image.open(io.BytesIO(prepare.preview_of(images))) as picture:
        assert picture.size == (width, width // prepare.SHEET_COLUMNS)
        tile = picture.height
        assert [picture.getpixel((tile * place + tile // 2, tile // 2)) for place in (0, 1)] == [(0,) * 3, (200,) * 3]


def test_a_sheet_and_its_denoising_steps_do_not_depend_on_the_batches(prepared, monkeypatch):
    whole = draw(prepared, prepared.candidate, "candidate", Listener())
    previews = []
    monkeypatch.setattr(prepare, "MOST_DENOISED", 7)
    monkeypatch.setattr(prepare, "PREVIEW_EVERY_S", 0)
    listener = Listener(preview=lambda which, png: previews.append(png))
    parts = draw(prepared, prepared.candidate, "candidate", listener)
    images, same_images = parts.images.images, whole.images.images
    assert len(images) == len(same_images) == prepare.SHEET_IMAGES
    assert (images.int() - same_images.int()).abs().max() <= 1
    assert trajectories._size(parts.formed) == trajectories._size(whole.formed)
    assert len(previews) == 2 * 6 + 1


def test_the_time_of_a_sheet_leaves_out_what_its_previews_take(prepared, monkeypatch):
    clock = [0.0]

    def slow_preview(which: str, png: bytes) -> None:
        clock[0] += 100.0

    monkeypatch.setattr(prepare, "PREVIEW_EVERY_S", 0)
    monkeypatch.setattr(prepare.time, "perf_counter", lambda: clock[0])
    decoded = type(prepared).decoded

    def timed(self, model, count, first=0, on_step=None, batch=None):
        def with_time(step):
            clock[0] += 1.0
            on_step(step)

        return decoded(self, model, count, first, with_time, batch)

    monkeypatch.setattr(type(prepared), "decoded", timed)
    drawn = draw(prepared, prepared.candidate, "candidate", Listener(preview=slow_preview))
    assert clock[0] > 100.0
    assert drawn.seconds == prepared.spec.steps


def test_decoding_is_sliced_to_a_bound_and_gives_the_same_images(tiny_model, monkeypatch):
    latents = torch.randn(9, *tiny_model.latent_shape, generator=torch.Generator().manual_seed(0))
    whole = tiny_model.decode_and_check(latents)
    sizes, decode = [], tiny_model.vae.decode
    monkeypatch.setattr(tiny_model.vae, "decode", lambda part: sizes.append(len(part)) or decode(part))
    monkeypatch.setattr(models, "DECODED_VALUES", 4 * 8 * tiny_model.image_size**2)  # 8 channels
    sliced = tiny_model.decode_and_check(latents)
    assert sizes == [4, 4, 1]
    assert (sliced.images.int() - whole.images.int()).abs().max() <= 1
    assert torch.equal(sliced.finite, whole.finite)
