import pytest
import torch
from diffusers import DDPMScheduler

from dit_core.errors import BadRequest
from dit_core.models.schedule import ScheduleConfig
from dit_core.sampling.diffusion import (
    add_noise,
    alphas_sigmas,
    betas,
    clean_estimate,
    logit_normal_timesteps,
    training_target,
)

COSINE_V = ScheduleConfig("squaredcos_cap_v2", "v_prediction")


@pytest.mark.parametrize("schedule", [ScheduleConfig(), COSINE_V])
def test_betas_are_those_of_diffusers(schedule):
    theirs = DDPMScheduler(1000, beta_start=1e-4, beta_end=0.02, beta_schedule=schedule.beta_schedule).betas
    torch.testing.assert_close(betas(schedule).float(), theirs, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("schedule", [ScheduleConfig(), COSINE_V])
def test_the_target_leads_back_to_the_clean_latents(schedule):
    alphas, sigmas = alphas_sigmas(schedule)
    t = torch.tensor([10, 400, 900])
    alpha, sigma = alphas[t], sigmas[t]
    x, noise = torch.randn(3, 4, 8, 8), torch.randn(3, 4, 8, 8)
    noisy = add_noise(x, noise, alpha, sigma)
    target = training_target(x, noise, alpha, sigma, schedule.prediction)
    torch.testing.assert_close(
        clean_estimate(target, noisy, alpha, sigma, schedule.prediction), x, atol=1e-3, rtol=1e-3
    )


def test_noise_keeps_the_variance():
    alphas, sigmas = alphas_sigmas(COSINE_V)
    torch.testing.assert_close(alphas**2 + sigmas**2, torch.ones(1000), atol=1e-5, rtol=0)


def test_logit_normal_timesteps_prefer_the_middle():
    t = logit_normal_timesteps(20_000, 1000, 0.0, 1.0, torch.Generator().manual_seed(0))
    assert t.min() >= 0
    assert t.max() <= 999
    middle = ((t > 250) & (t < 750)).float().mean()
    assert middle == pytest.approx(0.728, abs=0.02)  # P(|N| < ln 3)


def test_an_unknown_prediction_is_refused():
    with pytest.raises(BadRequest, match="use one of epsilon, v_prediction"):
        ScheduleConfig(prediction="score")
