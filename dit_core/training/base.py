"""Training examples of a diffusion model, and the loss of base training: the noise or velocity of latents."""

from dataclasses import dataclass
from typing import Any

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

from dit_core.data import ImageSet
from dit_core.data.training_images import TrainingImages
from dit_core.models.experts import balance_loss
from dit_core.models.model import Model
from dit_core.models.schedule import ScheduleConfig
from dit_core.sampling.diffusion import add_noise, alphas_sigmas, logit_normal_timesteps, training_target
from dit_core.training.autoencoder import encode, to_unit
from dit_core.training.loop import Loss


@dataclass(frozen=True)
class Latents:
    """Normalized posterior of each training image: `mean` and `std` (N, C, h, w); `labels` (N,)."""

    mean: Tensor
    std: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Objective:
    """How training draws classes, null labels and timesteps."""

    class_power: float = 0.4  # a class is drawn with probability ~ frequency ** class_power
    label_dropout: float = 0.1
    timestep_mean: float = 0.0  # of the logit-normal distribution
    timestep_std: float = 1.0


@dataclass(frozen=True)
class Batch:
    """One batch: `noisy` and `target` (B, C, h, w), timesteps `t` (B,) and labels `y` (B,)."""

    noisy: Tensor
    t: Tensor
    y: Tensor
    target: Tensor


class Batches:
    """Draws random examples. A generator in the same state gives the same batch."""

    def __init__(
        self,
        latents: Latents,
        schedule: ScheduleConfig,
        objective: Objective,
        batch_size: int,
        null: int | None = None,
    ) -> None:
        """`null` is the null label; by default the label after the largest one."""
        self.latents, self.schedule, self.objective, self.batch_size = latents, schedule, objective, batch_size
        self._alphas, self._sigmas = alphas_sigmas(schedule)
        self._cumulative = class_weights(latents.labels, objective.class_power).double().cumsum(0)
        self.null = int(latents.labels.max()) + 1 if null is None else null

    def draw_clean(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw latents (B, C, h, w) and labels (B,); some labels are null."""
        size = self.batch_size
        draws = torch.rand(size, generator=generator, dtype=torch.float64) * self._cumulative[-1]
        index = torch.searchsorted(self._cumulative, draws).clamp(max=len(self._cumulative) - 1)
        mean, std = self.latents.mean[index], self.latents.std[index]
        x = mean + std * torch.randn(mean.shape, generator=generator)
        dropped = torch.rand(size, generator=generator) < self.objective.label_dropout
        return x, self.latents.labels[index].masked_fill(dropped, self.null)

    def draw(self, generator: torch.Generator, device: torch.device | str = "cpu") -> Batch:
        """Draw noisy latents and the targets of the network."""
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
    """Return the sampling weight (N,) of each image: a class is drawn with probability ~ frequency ** power."""
    counts = torch.bincount(labels).float()
    return (counts ** (power - 1))[labels]


def latents_of(vae: AutoencoderKL, images: ImageSet) -> Latents:
    """Encode all images and return their normalized posteriors, on the CPU."""
    return _normalized(vae, *encode(vae, images), torch.from_numpy(images.labels))


def _normalized(vae: AutoencoderKL, mean: Tensor, std: Tensor, labels: Tensor) -> Latents:
    """Shift and scale the posteriors of an autoencoder to what the network sees."""
    config: Any = vae.config
    shifted = mean - (config.shift_factor or 0.0)
    return Latents(shifted * config.scaling_factor, std * config.scaling_factor, labels)


@torch.inference_mode()
def own_latents(model: Model, images: TrainingImages) -> Latents:
    """Return the normalized posteriors of a person's own images, on the CPU; latents in files have no deviation.

    Raises BadRequest for files that are damaged.
    """
    labels = torch.tensor(images.labels)
    if images.latents:
        values = torch.from_numpy(images.features(model.latent_shape))
        return Latents(values, torch.zeros(1).expand_as(values), labels)
    assert model.vae is not None
    vae: Any = model.vae
    means, deviations = [], []
    for batch in images.images(model.image_size):
        posterior = vae.encode(to_unit(torch.from_numpy(batch)).to(vae.device, vae.dtype)).latent_dist
        means.append(posterior.mean.float().cpu())
        deviations.append(posterior.std.float().cpu())
    return _normalized(vae, torch.cat(means), torch.cat(deviations), labels)


def diffusion_loss(batches: Batches) -> Loss:
    """Return the loss: mean squared error of the prediction, plus the balance loss of mixtures of experts.

    Of a network that also predicts the variance, only the channels of the prediction count.
    """

    def loss(dit: nn.Module, generator: torch.Generator, done: float) -> Tensor:
        batch = batches.draw(generator, next(dit.parameters()).device)
        output = dit(batch.noisy, batch.t, batch.y)[:, : batch.target.shape[1]]
        return (output - batch.target).square().mean() + balance_loss(dit)

    return loss
