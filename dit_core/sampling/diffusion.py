"""Noise schedule, parameterizations and training targets.

Notation of DDPM (arXiv 2006.11239): x_t = alpha_t x_0 + sigma_t eps with alpha_t^2 + sigma_t^2 = 1. The velocity is
v = alpha_t eps - sigma_t x_0 (Salimans and Ho, arXiv 2202.00512).
"""

import torch
from torch import Tensor

from dit_core.models.schedule import alphas_sigmas, betas

__all__ = [
    "add_noise",
    "alphas_sigmas",
    "betas",
    "clean_estimate",
    "logit_normal_timesteps",
    "training_target",
]


def add_noise(x: Tensor, noise: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """Return x_t from x_0 and eps, all (N, C, H, W), with alpha and sigma (N,)."""
    return alpha.view(-1, 1, 1, 1) * x + sigma.view(-1, 1, 1, 1) * noise


def training_target(x: Tensor, noise: Tensor, alpha: Tensor, sigma: Tensor, prediction: str) -> Tensor:
    """Return the output (N, C, H, W) that the network should have for x_t."""
    if prediction == "epsilon":
        return noise
    return alpha.view(-1, 1, 1, 1) * noise - sigma.view(-1, 1, 1, 1) * x


def clean_estimate(output: Tensor, noisy: Tensor, alpha: Tensor, sigma: Tensor, prediction: str) -> Tensor:
    """Return the estimate of x_0 (N, C, H, W) that follows from an output of the network."""
    alpha, sigma = alpha.view(-1, 1, 1, 1), sigma.view(-1, 1, 1, 1)
    if prediction == "epsilon":
        return (noisy - sigma * output) / alpha
    return alpha * noisy - sigma * output


def logit_normal_timesteps(count: int, steps: int, mean: float, std: float, generator: torch.Generator) -> Tensor:
    """Return (count,) timesteps, most of them in the middle of the schedule (Esser et al., arXiv 2403.03206)."""
    u = torch.sigmoid(mean + std * torch.randn(count, generator=generator))
    return (u * steps).long().clamp(max=steps - 1)
