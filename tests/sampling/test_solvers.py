import pytest
import torch

from dit_core.models.schedule import ScheduleConfig
from dit_core.sampling.config import AS_PUBLISHED
from dit_core.sampling.diffusion import betas
from dit_core.sampling.solvers import make_scheduler

SHAPE = (2, 4, 8, 8)


@pytest.mark.parametrize("steps", [2, 3, 10, 27, 50, 128, 250, 1000])
def test_timesteps_of_dit_are_evenly_spaced_from_the_last_to_the_first(steps):
    """The rounded multiples of a stride of (T - 1) / (steps - 1), which is how guided-diffusion states them."""
    solver = make_scheduler("ddpm-dit", ScheduleConfig())
    solver.set_timesteps(steps)
    stride = 999 / (steps - 1)
    assert solver.timesteps.tolist() == [round(i * stride) for i in reversed(range(steps))]


@pytest.mark.parametrize("index", [0, 1, 100, 248, 249])
def test_a_step_of_dit_is_ddpm_on_the_betas_of_its_timesteps_with_the_learned_variance(index):
    """Equations 6, 7 of DDPM and 15 of Nichol and Dhariwal on the shortened schedule, in double precision."""
    steps = AS_PUBLISHED["evaluation"]["steps"]
    solver = make_scheduler("ddpm-dit", ScheduleConfig(), learned_variance=True)
    solver.set_timesteps(steps)
    t = solver.timesteps[index]
    chain = solver.timesteps.flip(0)
    bar = torch.cumprod(1 - betas(ScheduleConfig()), 0)[chain]
    previous = torch.cat([torch.ones(1, dtype=bar.dtype), bar[:-1]])
    i = steps - 1 - index
    beta = 1 - bar[i] / previous[i]

    draw = torch.Generator().manual_seed(index)
    x, epsilon, v = (torch.randn(SHAPE, generator=draw) for _ in range(3))
    clean = (x - (1 - bar[i]).sqrt() * epsilon) / bar[i].sqrt()
    mean = previous[i].sqrt() * beta / (1 - bar[i]) * clean
    mean = mean + (1 - beta).sqrt() * (1 - previous[i]) / (1 - bar[i]) * x
    if i:
        smallest = beta * (1 - previous[i]) / (1 - bar[i])
        share = (v + 1) / 2
        deviation = (0.5 * (share * beta.log() + (1 - share) * smallest.log())).exp()
        mean = mean + deviation * torch.randn(SHAPE, generator=torch.Generator().manual_seed(7))
    (result,) = solver.step(
        torch.cat([epsilon, v], 1), t, x, generator=torch.Generator().manual_seed(7), return_dict=False
    )[:1]
    torch.testing.assert_close(result.double(), mean.double(), atol=2e-3, rtol=1e-3)
