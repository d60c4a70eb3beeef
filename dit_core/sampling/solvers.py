"""Solvers of the denoising equation: diffusers' schedulers on the noise schedule of a model, and Euler's method."""

from typing import Any

import numpy as np
import torch
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler, UniPCMultistepScheduler

from dit_core.errors import BadRequest
from dit_core.models.schedule import ScheduleConfig
from dit_core.sampling.diffusion import alphas_sigmas, betas, clean_estimate


class EulerScheduler:
    """Euler's method with equal steps on the straight path from noise to image (rectified flow, arXiv 2209.03003).

    That is how flow matching, MeanFlow (arXiv 2505.13447) and shortcut models (arXiv 2410.12557) are sampled. The path
    is (1 - s) x_0 + s eps; each step starts at the timestep of the model's schedule whose s is nearest. diffusers'
    Euler solvers for flows do not sample models with a schedule. Its step is that of DDIM between the same timesteps.
    """

    def __init__(self, schedule: ScheduleConfig) -> None:
        self.prediction = schedule.prediction
        self.alphas, self.sigmas = alphas_sigmas(schedule)

    def set_timesteps(self, steps: int) -> None:
        """Choose the timesteps (steps,) of a sample, from the noisiest on; raises BadRequest if there are too few."""
        count = len(self.alphas)
        if not 1 <= steps <= count:
            raise BadRequest(f"Euler's method takes 1 to {count} steps, got {steps}.")
        shares = (self.sigmas / (self.alphas + self.sigmas)).numpy()
        wanted = 1 - np.arange(steps) / steps
        nearest = np.abs(shares[None] - wanted[:, None]).argmin(1)
        latest = np.minimum.accumulate(nearest + np.arange(steps)) - np.arange(steps)  # strictly descending
        self.timesteps = torch.from_numpy(np.maximum(latest, np.arange(steps)[::-1]))

    def step(
        self, output: torch.Tensor, timestep: torch.Tensor, sample: torch.Tensor, return_dict: bool = False
    ) -> tuple[torch.Tensor]:
        """Return the latents (N, C, h, w) at the next timestep, as diffusers' schedulers do."""
        index = int((self.timesteps == int(timestep)).nonzero())
        alpha, sigma = self.alphas[timestep].to(sample), self.sigmas[timestep].to(sample)
        clean = clean_estimate(output, sample, alpha, sigma, self.prediction)
        if index + 1 == len(self.timesteps):
            return (clean,)
        after = self.timesteps[index + 1]
        return (
            self.alphas[after].to(sample) * clean + self.sigmas[after].to(sample) * (sample - alpha * clean) / sigma,
        )


SCHEDULERS: dict[str, tuple[type, dict[str, Any]]] = {
    "ddpm": (DDPMScheduler, {"clip_sample": False}),
    "ddim": (DDIMScheduler, {"clip_sample": False, "set_alpha_to_one": True}),
    "dpm++2m": (DPMSolverMultistepScheduler, {"algorithm_type": "dpmsolver++", "solver_order": 2}),
    "unipc": (UniPCMultistepScheduler, {"solver_order": 2}),
    "ddpm-dit": (DDPMScheduler, {"clip_sample": False, "timestep_spacing": "linspace"}),
    "euler": (EulerScheduler, {}),
}
STRAIGHT = ("ddim", "euler")  # a step ends where the straight line from its start, with one slope, leads
STOCHASTIC = ("ddpm", "ddpm-dit")  # add noise in every step, and read the learned variance if the network has one


def make_scheduler(name: str, schedule: ScheduleConfig, learned_variance: bool = False) -> Any:
    """Return the scheduler of a name, with trailing timesteps (arXiv 2305.08891).

    `ddpm-dit` takes evenly spaced timesteps from the last one to 0, as the published DiT code does
    (`space_timesteps` of guided-diffusion, arXiv 2102.09672). Raises BadRequest if there is none of this name.
    """
    if name not in SCHEDULERS:
        raise BadRequest(f"Unknown scheduler {name!r}: use one of {', '.join(SCHEDULERS)}.")
    kind, options = SCHEDULERS[name]
    if kind is EulerScheduler:
        return EulerScheduler(schedule)
    if name in STOCHASTIC and learned_variance:
        options = {**options, "variance_type": "learned_range"}
    return kind(
        num_train_timesteps=schedule.train_steps,
        trained_betas=betas(schedule).numpy().astype("float32"),
        prediction_type=schedule.prediction,
        **{"timestep_spacing": "trailing", **options},
    )
