"""Noise schedule, parameterizations and the training loss.

Notation of DDPM (arXiv 2006.11239): x_t = alpha_t x_0 + sigma_t eps with alpha_t^2 + sigma_t^2 = 1. The velocity is
v = alpha_t eps - sigma_t x_0 (Salimans and Ho, arXiv 2202.00512).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from dit_core.errors import BadRequest

PREDICTIONS = ("epsilon", "v_prediction")
BETAS = ("linear", "squaredcos_cap_v2")


@dataclass(frozen=True)
class ScheduleConfig:
    """What the network predicts and under which noise; part of a model's configuration.

    Published DiT checkpoints: linear betas, epsilon, learned sigma. The bundled model: cosine betas, v prediction.
    """

    beta_schedule: str = "linear"
    prediction: str = "epsilon"
    train_steps: int = 1000

    def __post_init__(self) -> None:
        if self.beta_schedule not in BETAS:
            raise BadRequest(f"Unknown beta_schedule {self.beta_schedule!r}: use one of {', '.join(BETAS)}.")
        if self.prediction not in PREDICTIONS:
            raise BadRequest(f"Unknown prediction {self.prediction!r}: use one of {', '.join(PREDICTIONS)}.")


def betas(config: ScheduleConfig) -> Tensor:
    """(train_steps,) float64: DDPM's linear schedule, or the cosine of Nichol and Dhariwal (arXiv 2102.09672)."""
    if config.beta_schedule == "linear":
        scale = 1000 / config.train_steps
        return torch.linspace(scale * 1e-4, scale * 0.02, config.train_steps, dtype=torch.float64)
    t = torch.arange(config.train_steps + 1, dtype=torch.float64) / config.train_steps
    bar = torch.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2
    return (1 - bar[1:] / bar[:-1]).clamp(max=0.999)


def alphas_sigmas(config: ScheduleConfig) -> tuple[Tensor, Tensor]:
    """alpha_t and sigma_t, each (train_steps,) float32."""
    bar = torch.cumprod(1 - betas(config), 0)
    return bar.sqrt().float(), (1 - bar).sqrt().float()


def add_noise(x: Tensor, noise: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """x_t of x_0 and eps, all (N, C, H, W); alpha and sigma (N,)."""
    return alpha.view(-1, 1, 1, 1) * x + sigma.view(-1, 1, 1, 1) * noise


def training_target(x: Tensor, noise: Tensor, alpha: Tensor, sigma: Tensor, prediction: str) -> Tensor:
    """What the network should return for x_t."""
    if prediction == "epsilon":
        return noise
    return alpha.view(-1, 1, 1, 1) * noise - sigma.view(-1, 1, 1, 1) * x


def clean_estimate(output: Tensor, noisy: Tensor, alpha: Tensor, sigma: Tensor, prediction: str) -> Tensor:
    """The x_0 that an output of the network stands for."""
    alpha, sigma = alpha.view(-1, 1, 1, 1), sigma.view(-1, 1, 1, 1)
    if prediction == "epsilon":
        return (noisy - sigma * output) / alpha
    return alpha * noisy - sigma * output


def logit_normal_timesteps(count: int, steps: int, mean: float, std: float, generator: torch.Generator) -> Tensor:
    """(count,) timesteps, most of them in the middle of the schedule (Esser et al., arXiv 2403.03206)."""
    u = torch.sigmoid(mean + std * torch.randn(count, generator=generator))
    return (u * steps).long().clamp(max=steps - 1)
