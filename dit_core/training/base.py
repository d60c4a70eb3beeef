"""Training examples of a diffusion model, and the loss of base training: predict velocity or noise of latents."""

from dataclasses import dataclass
from typing import Any

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

from dit_core.data import ImageSet
from dit_core.diffusion import ScheduleConfig, add_noise, alphas_sigmas, logit_normal_timesteps, training_target
from dit_core.models.experts import balance_loss
from dit_core.training.loop import Loss
from dit_core.training.vae import encode


@dataclass(frozen=True)
class Latents:
    """Posterior of each training image, normalized: `mean` and `std` (N, C, h, w); `labels` (N,)."""

    mean: Tensor
    std: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Objective:
    """How training draws its examples."""

    class_power: float = 0.4  # classes are drawn with probability ~ frequency ** class_power
    label_dropout: float = 0.1
    timestep_mean: float = 0.0  # of the logit-normal distribution
    timestep_std: float = 1.0


@dataclass(frozen=True)
class Batch:
    """`noisy` and `target` (B, C, h, w), `t` and `y` (B,)."""

    noisy: Tensor
    t: Tensor
    y: Tensor
    target: Tensor


class Batches:
    """Random examples; the same generator gives the same batch."""

    def __init__(self, latents: Latents, schedule: ScheduleConfig, objective: Objective, batch_size: int) -> None:
        self.latents, self.schedule, self.objective, self.batch_size = latents, schedule, objective, batch_size
        self._alphas, self._sigmas = alphas_sigmas(schedule)
        self._cumulative = class_weights(latents.labels, objective.class_power).double().cumsum(0)
        self.null = int(latents.labels.max()) + 1

    def draw_clean(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Latents (B, C, h, w) and labels (B,), some of them null."""
        size = self.batch_size
        draws = torch.rand(size, generator=generator, dtype=torch.float64) * self._cumulative[-1]
        index = torch.searchsorted(self._cumulative, draws).clamp(max=len(self._cumulative) - 1)
        mean, std = self.latents.mean[index], self.latents.std[index]
        x = mean + std * torch.randn(mean.shape, generator=generator)
        dropped = torch.rand(size, generator=generator) < self.objective.label_dropout
        return x, self.latents.labels[index].masked_fill(dropped, self.null)

    def draw(self, generator: torch.Generator, device: torch.device | str = "cpu") -> Batch:
        """Noisy latents and what the network should return for them."""
        x, y = self.draw_clean(generator)
        objective, schedule = self.objective, self.schedule
        t = logit_normal_timesteps(
            len(y), schedule.train_steps, objective.timestep_mean, objective.timestep_std, generator
        )
        noise = torch.randn(x.shape, generator=generator)
        alpha, sigma = self._alphas[t], self._sigmas[t]
        noisy, target = add_noise(x, noise, alpha, sigma), training_target(x, noise, alpha, sigma, schedule.prediction)
        return Batch(noisy.to(device), t.to(device), y.to(device), target.to(device))


def class_weights(labels: Tensor, power: float) -> Tensor:
    """(N,) weight of each image, so that a class is drawn with probability ~ frequency ** power."""
    counts = torch.bincount(labels).float()
    return (counts ** (power - 1))[labels]


def latents_of(vae: AutoencoderKL, images: ImageSet) -> Latents:
    """The normalized posteriors of all images, on the CPU."""
    config: Any = vae.config
    mean, std = encode(vae, images)
    shifted = mean - (config.shift_factor or 0.0)
    return Latents(shifted * config.scaling_factor, std * config.scaling_factor, torch.from_numpy(images.labels))


def diffusion_loss(batches: Batches) -> Loss:
    """Mean squared error of the prediction, on its first channels where the network also gives sigma, and the balance
    loss of a network with mixtures."""

    def loss(dit: nn.Module, generator: torch.Generator, done: float) -> Tensor:
        batch = batches.draw(generator, next(dit.parameters()).device)
        output = dit(batch.noisy, batch.t, batch.y)[:, : batch.target.shape[1]]
        return (output - batch.target).square().mean() + balance_loss(dit)

    return loss
