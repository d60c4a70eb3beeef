from typing import Any

import numpy as np
import pytest
import torch

from dit_core.data.images import ImageSet
from dit_core.errors import BadRequest
from dit_core.measure.flops import flops
from dit_core.recipes.context import Context
from dit_core.recipes.recipe import apply_recipe
from dit_core.sampling.config import SamplingConfig
from dit_core.sampling.guidance import Guidance
from dit_core.sampling.loop import generate
from dit_core.training import recovery
from dit_core.training.base import Batches, Objective, latents_of
from dit_core.training.loop import Settings, fit

CONTEXT = Context(torch.device("cpu"))
LABELS = [0, 1, 2]


@pytest.fixture(scope="module")
def folded(tiny_model) -> Any:
    return tiny_model.with_dit(apply_recipe(tiny_model.dit, [{"name": "guidance_distillation"}], CONTEXT))


def test_untrained_it_is_the_model_without_guidance(tiny_model, folded):
    plain = generate(tiny_model, LABELS, sampling=SamplingConfig("ddim", 3, guidance=1.0))
    assert torch.equal(generate(folded, LABELS, sampling=SamplingConfig("ddim", 3, guidance=4.0)), plain)


def test_a_step_costs_half(tiny_model, folded):
    sampling = SamplingConfig("ddim", 2, guidance=3.0)
    counted = flops(
        lambda: generate(folded, LABELS, sampling=sampling), lambda: generate(tiny_model, LABELS, sampling=sampling)
    )
    decoder = flops(lambda: tiny_model.decode(torch.zeros(3, 4, 8, 8)), lambda: None)["macs"]
    share = (counted["macs"] - decoder) / (counted["baseline_macs"] - decoder)
    assert 0.5 < share < 0.56  # half, and what embeds the scale


@pytest.mark.slow
def test_training_teaches_what_guidance_does(tiny_model, folded, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (16, 32, 32, 3)).astype(np.uint8)
    images = ImageSet(pixels, np.arange(16) % 3, tiny_model.classes, ("made",) * 16, ("noise",) * 16, "0" * 64)
    batches = Batches(latents_of(tiny_model.vae, images), tiny_model.config.schedule, Objective(), 32)
    student = apply_recipe(folded.dit, [{"name": "distillation", "depth": 1.0}], CONTEXT)
    student.requires_grad_(True).get_parameter("pos_embed").requires_grad_(False)
    settings = Settings(samples=60 * 32, batch_size=32, learning_rate=2e-3, warmup=160, ema=320)
    trained = fit(student, recovery.Distillation(tiny_model.dit, batches), settings, tmp_path)

    def error(dit: Any) -> float:
        x = torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(1))
        sampling, labels = SamplingConfig(guidance=5.0), torch.tensor(LABELS)
        expected = Guidance(tiny_model, sampling).predict(x, 600, labels)
        return (Guidance(tiny_model.with_dit(dit), sampling).predict(x, 600, labels) - expected).square().mean().item()

    assert error(trained) < 0.7 * error(folded.dit)


def test_what_it_cannot_do_is_refused(folded):
    with pytest.raises(BadRequest, match="guidance_channels"):
        generate(folded, LABELS, sampling=SamplingConfig("ddim", 2, guidance_channels=3))
    with pytest.raises(BadRequest, match="distill guidance once"):
        apply_recipe(folded.dit, [{"name": "guidance_distillation"}], CONTEXT)
