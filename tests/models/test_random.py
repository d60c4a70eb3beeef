"""Models of random weights: a name stands for any preset at any resolution, to measure cost with."""

import pytest
import torch

from dit_core.errors import BadRequest
from dit_core.experiment import prepare, run
from dit_core.measure import count
from dit_core.models import sources
from dit_core.models.sources import load_model
from dit_core.models.sources.folder import save_model
from dit_core.records.spec import RunSpec
from dit_core.sampling.config import SamplingConfig
from dit_core.sampling.loop import generate

pytestmark = pytest.mark.slow

NAME = "random:DiT-XS/8@128"  # 4 tokens


@pytest.fixture(scope="module")
def model():
    return load_model(NAME)


def test_tokens_follow_from_preset_and_resolution():
    assert [sources.find(f"random:DiT-S/2@{pixels}").size.tokens for pixels in (256, 512, 1024)] == [256, 1024, 4096]
    assert sources.find("random:DiT-B/4@512").size.hidden_size == 768


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("random:DiT-M/2@256", "Unknown preset 'DiT-M/2' in random:DiT-M/2@256: use one of DiT-XL/2"),
        ("random:DiT-S/4@272", r"use a multiple of 32 \(8 times the patch\) between 64 and 2048"),
        ("random:DiT-S/2@16", "between 64 and 2048"),
        ("random:DiT-S/2@4096", "between 64 and 2048"),
        ("random:DiT-S/2", "Write a random model as random:DiT-S/2@512"),
        ("random:DiT-S/2@big", "Write a random model as random:DiT-S/2@512"),
    ],
)
def test_what_is_no_random_model_is_refused_in_one_line(name, reason):
    with pytest.raises(BadRequest, match=reason) as error:
        sources.find(name)
    assert "\n" not in str(error.value)


def test_weights_are_the_same_at_every_load_and_nothing_starts_at_zero(model):
    again = load_model(NAME).dit.state_dict()
    for key, value in model.dit.state_dict().items():
        assert torch.equal(value, again[key])
        assert value.any(), key


def test_it_generates_lively_images_one_pixel_a_latent(model):
    images = generate(model, [0, 7], sampling=SamplingConfig(steps=2))
    assert images.shape == (2, 3, 16, 16)
    assert images.float().std() > 5
    assert not torch.equal(images[0], images[1])


def test_decoding_is_linear_in_the_first_three_channels(model):
    latents = torch.zeros(1, 4, 16, 16)
    latents[0, 0], latents[0, 1], latents[0, 3] = 1, -3, 5
    assert model.decode(latents)[0, :, 0, 0].tolist() == [191, 0, 128]


def test_its_timed_work_is_the_network_alone(model):
    x, t, y = torch.randn(2, *model.latent_shape), torch.tensor([999, 999]), torch.tensor([0, 1000])
    alone = count(lambda: model.dit(x, t, y))
    counted = count(lambda: generate(model, [0], sampling=SamplingConfig(steps=3)))
    assert counted.macs == 3 * alone.macs > 0
    assert not counted.uncounted


def test_it_cannot_be_saved(model, tmp_path):
    with pytest.raises(BadRequest, match="has no autoencoder"):
        save_model(model, tmp_path)


def test_quality_of_random_weights_is_refused_before_loading(monkeypatch):
    monkeypatch.setattr(prepare, "load_model", lambda *_: pytest.fail("loaded"))
    with pytest.raises(BadRequest, match="set samples to 0"):
        run.run(RunSpec(model=NAME, samples=10))


def test_a_run_has_its_figures_but_no_quality(timed_briefly):
    spec = RunSpec(model=NAME, techniques=({"name": "quantization"},), steps=1, batch_size=2)
    record = run.run(spec)
    assert record.speedup["ratio"] > 0
    assert record.flops["macs"] > 0
    assert record.quality["distance"] is None
    assert "samples" in record.quality["reason"]
    assert len(record.samples["labels"]) == 2
