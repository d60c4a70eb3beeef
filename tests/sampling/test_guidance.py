"""Classifier-free guidance, and the interval of timesteps in which it is applied."""

import pytest
import torch

from dit_core.sampling.config import SamplingConfig
from dit_core.sampling.guidance import Guidance
from dit_core.sampling.loop import generate


def test_guidance_moves_away_from_the_unconditional_prediction(tiny_model):
    noisy = torch.randn(2, *tiny_model.latent_shape)
    labels = torch.tensor([0, 1])
    plain = Guidance(tiny_model, SamplingConfig(guidance=1.0)).predict(noisy, 500, labels)
    none = Guidance(tiny_model, SamplingConfig(guidance=0.0)).predict(noisy, 500, labels)
    guided = Guidance(tiny_model, SamplingConfig(guidance=3.0)).predict(noisy, 500, labels)
    torch.testing.assert_close(guided, none + 3 * (plain - none), atol=1e-4, rtol=1e-4)
    three = Guidance(tiny_model, SamplingConfig(guidance=3.0, guidance_channels=3)).predict(noisy, 500, labels)
    torch.testing.assert_close(three[:, :3], guided[:, :3])
    torch.testing.assert_close(three[:, 3:], plain[:, 3:])


def test_an_interval_of_all_timesteps_changes_no_bit(tiny_model):
    always = SamplingConfig("ddim", steps=4, guidance=3.0)
    interval = SamplingConfig("ddim", steps=4, guidance=3.0, guidance_interval=(0, 999))
    assert torch.equal(*(generate(tiny_model, [0, 1], sampling=sampling) for sampling in (always, interval)))


def test_an_interval_without_timesteps_is_no_guidance(tiny_model):
    never = SamplingConfig("ddim", steps=4, guidance=3.0, guidance_interval=(1, 0))
    plain = SamplingConfig("ddim", steps=4, guidance=1.0)
    assert torch.equal(*(generate(tiny_model, [0, 1], sampling=sampling) for sampling in (never, plain)))


@pytest.mark.parametrize(
    ("interval", "batches"), [(None, [4, 4, 4, 4]), ((400, 800), [2, 4, 4, 2]), ((0, 300), [2, 2, 2, 4])]
)
def test_outside_the_interval_the_network_runs_one_branch(tiny_model, interval, batches):
    seen = []
    handle = tiny_model.dit.register_forward_pre_hook(lambda dit, args: seen.append(len(args[0])))
    try:
        sampling = SamplingConfig("ddim", steps=4, guidance=3.0, guidance_interval=interval)
        generate(tiny_model, [0, 1], sampling=sampling)  # timesteps 999, 749, 499 and 249
    finally:
        handle.remove()
    assert seen == batches
