import pytest
import torch
from torch import nn

from dit_core.errors import BadRequest, Cancelled
from dit_core.models.schedule import ScheduleConfig
from dit_core.records.spec import SCHEDULERS as NAMES
from dit_core.sampling.config import SamplingConfig
from dit_core.sampling.diffusion import alphas_sigmas
from dit_core.sampling.loop import generate, sample_latents
from dit_core.sampling.solvers import SCHEDULERS, make_scheduler


def test_the_spec_names_the_schedulers_that_exist():
    assert tuple(SCHEDULERS) == NAMES


@pytest.mark.parametrize("scheduler", NAMES)
def test_images_do_not_depend_on_the_batch_size(tiny_model, scheduler):
    labels = [0, 1, 2, 0, 1]
    sampling = SamplingConfig(scheduler, steps=4, guidance=2.0)
    together = generate(tiny_model, labels, seed=7, sampling=sampling, batch_size=5)
    one_by_one = generate(tiny_model, labels, seed=7, sampling=sampling, batch_size=1)
    assert together.shape == (5, 3, 32, 32)
    assert together.dtype == torch.uint8
    assert (together.int() - one_by_one.int()).abs().max() <= 1  # rounding of float sums, never the noise
    last = generate(tiny_model, labels[3:], seed=7, first=3, sampling=sampling, batch_size=2)
    assert (together[3:].int() - last.int()).abs().max() <= 1


def test_the_same_call_gives_the_same_images_and_another_seed_others(tiny_model):
    first, second, other = (
        generate(tiny_model, [0, 1], seed=seed, sampling=SamplingConfig(steps=3)) for seed in (1, 1, 2)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


class Perfect(nn.Module):
    """Knows the one image there is, and answers with its exact velocity or noise."""

    def __init__(self, config, clean, schedule) -> None:
        super().__init__()
        self.config, self.clean, self.schedule = config, clean, schedule
        self.anchor = nn.Parameter(torch.zeros(1))

    def forward(self, x, t, y):
        alphas, sigmas = alphas_sigmas(self.schedule)
        alpha, sigma = alphas[t].view(-1, 1, 1, 1), sigmas[t].view(-1, 1, 1, 1)
        noise = (x - alpha * self.clean) / sigma
        return noise if self.schedule.prediction == "epsilon" else alpha * noise - sigma * self.clean


@pytest.mark.parametrize("scheduler", NAMES)
@pytest.mark.parametrize("schedule", [ScheduleConfig(), ScheduleConfig("squaredcos_cap_v2", "v_prediction")])
def test_a_perfect_network_is_followed_to_its_image(tiny_model, scheduler, schedule):
    from dataclasses import replace

    clean = torch.randn(1, *tiny_model.latent_shape, generator=torch.Generator().manual_seed(5))
    model = replace(tiny_model, config=replace(tiny_model.config, schedule=schedule))
    model = model.with_dit(Perfect(model.config.dit, clean, schedule))
    seen = []
    sampling = SamplingConfig(scheduler, steps=20, guidance=1.0)
    out = sample_latents(model, torch.tensor([0, 1]), [1, 2], sampling, seen.append)
    assert [step.index for step in seen] == list(range(1, 21))
    assert (out - clean).abs().max() < 0.05
    assert (seen[-1].clean - clean).abs().max() < 0.01


def test_a_callback_can_cancel(tiny_model):
    def stop(step):
        if step.index == 2:
            raise Cancelled

    with pytest.raises(Cancelled):
        generate(tiny_model, [0], sampling=SamplingConfig(steps=4), on_step=stop)


@pytest.mark.parametrize("arguments", [{"labels": []}, {"labels": [9]}, {"labels": [0], "batch_size": 0}])
def test_impossible_requests_are_refused(tiny_model, arguments):
    with pytest.raises(BadRequest):
        generate(tiny_model, **arguments)


@pytest.mark.parametrize("schedule", [ScheduleConfig(), ScheduleConfig("squaredcos_cap_v2", "v_prediction")])
def test_a_step_of_euler_is_that_of_ddim_between_the_same_timesteps(schedule):
    euler, ddim = make_scheduler("euler", schedule), make_scheduler("ddim", schedule)
    euler.set_timesteps(4)
    ddim.set_timesteps(4)
    euler.timesteps = ddim.timesteps
    sample, output = torch.randn(2, 1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    for timestep in ddim.timesteps:
        expected = ddim.step(output, timestep, sample).prev_sample
        torch.testing.assert_close(euler.step(output, timestep, sample)[0], expected, atol=2e-4, rtol=1e-4)
        sample = expected


@pytest.mark.parametrize("steps", [1, 2, 4, 50, 250, 1000])
def test_the_steps_of_euler_are_as_equal_as_timesteps_allow(steps):
    schedule = ScheduleConfig()
    euler = make_scheduler("euler", schedule)
    euler.set_timesteps(steps)
    timesteps = euler.timesteps.tolist()
    assert timesteps == sorted(set(timesteps), reverse=True)
    assert 0 <= timesteps[-1] <= timesteps[0] <= 999
    alphas, sigmas = alphas_sigmas(schedule)
    shares = (sigmas / (alphas + sigmas))[timesteps]
    wanted = 1 - torch.arange(steps) / steps
    if steps <= 50:
        torch.testing.assert_close(shares, wanted, atol=0.01, rtol=0)


@pytest.mark.parametrize("steps", [0, 1001])
def test_euler_refuses_steps_that_do_not_exist(steps):
    with pytest.raises(BadRequest, match="1 to 1000 steps"):
        make_scheduler("euler", ScheduleConfig()).set_timesteps(steps)
