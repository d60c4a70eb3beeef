"""The loss of base training: predict the velocity or noise of class-conditional latents."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dit_core.diffusion import ScheduleConfig, add_noise, alphas_sigmas, logit_normal_timesteps, training_target
from dit_core.training.loop import Loss


@dataclass(frozen=True)
class Latents:
    """Posterior of each training image, normalized: `mean` and `std` (N, C, h, w); `labels` (N,)."""

    mean: Tensor
    std: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Objective:
    """How base training draws its examples."""

    class_power: float = 0.4  # classes are drawn with probability ~ frequency ** class_power
    label_dropout: float = 0.1
    timestep_mean: float = 0.0  # of the logit-normal distribution
    timestep_std: float = 1.0


def class_weights(labels: Tensor, power: float) -> Tensor:
    """(N,) weight of each image, so that a class is drawn with probability ~ frequency ** power."""
    counts = torch.bincount(labels).float()
    return (counts ** (power - 1))[labels]


def diffusion_loss(latents: Latents, schedule: ScheduleConfig, objective: Objective, batch_size: int) -> Loss:
    """Mean squared error of the network's prediction; the first channels only where the network also gives sigma."""
    alphas, sigmas = alphas_sigmas(schedule)
    cumulative = class_weights(latents.labels, objective.class_power).double().cumsum(0)
    null = int(latents.labels.max()) + 1

    def loss(dit: nn.Module, generator: torch.Generator) -> Tensor:
        draws = torch.rand(batch_size, generator=generator, dtype=torch.float64) * cumulative[-1]
        index = torch.searchsorted(cumulative, draws).clamp(max=len(cumulative) - 1)
        mean, std = latents.mean[index], latents.std[index]
        x = mean + std * torch.randn(mean.shape, generator=generator)  # (B, C, h, w)
        dropped = torch.rand(batch_size, generator=generator) < objective.label_dropout
        y = latents.labels[index].masked_fill(dropped, null)
        t = logit_normal_timesteps(
            batch_size, schedule.train_steps, objective.timestep_mean, objective.timestep_std, generator
        )
        noise = torch.randn(x.shape, generator=generator)
        noisy = add_noise(x, noise, alphas[t], sigmas[t])
        target = training_target(x, noise, alphas[t], sigmas[t], schedule.prediction)
        output = dit(noisy, t, y)[:, : x.shape[1]]
        return (output - target).square().mean()

    return loss
