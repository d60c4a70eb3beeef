"""The denoising loop, and the generation of images in batches.

The noise of an image comes only from its own seed, and state of the network is reset at the start of every batch, so an
image does not depend on the images beside it or before it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dit_core.errors import BadRequest
from dit_core.models.model import Decoded, Model
from dit_core.models.state import CLEAN, StepContext, sampled_batch
from dit_core.sampling.config import SamplingConfig
from dit_core.sampling.diffusion import alphas_sigmas, clean_estimate
from dit_core.sampling.guidance import Guidance
from dit_core.sampling.noise import image_seed, starting_noise
from dit_core.sampling.solvers import STOCHASTIC, STRAIGHT, make_scheduler


@dataclass(frozen=True)
class Step:
    """What a callback gets at each step: its `index` from 1, and the estimate `clean` (N, C, h, w) of the latents."""

    index: int
    of: int
    clean: Tensor


@torch.inference_mode()
def sample_latents(
    model: Model,
    labels: Tensor,
    seeds: Sequence[int],
    sampling: SamplingConfig,
    on_step: Callable[[Step], None] | None = None,
) -> Tensor:
    """Denoise one batch: `labels` (N,) on the model's device and N `seeds`; returns latents (N, C, h, w).

    `on_step` may raise `errors.Cancelled` to stop.
    """
    schedule = model.config.schedule
    solver = make_scheduler(sampling.scheduler, schedule, model.config.dit.predicts_variance)
    solver.set_timesteps(sampling.steps)
    alphas, sigmas = alphas_sigmas(schedule)
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    noisy = starting_noise(model.latent_shape, generators, labels.device)  # (N, C, h, w)
    channels = noisy.shape[1]
    guidance = Guidance(model, sampling)
    with sampled_batch(model.dit) as set_step:
        for index, timestep in enumerate(solver.timesteps, start=1):
            t = int(timestep)
            end = int(solver.timesteps[index]) if index < len(solver.timesteps) else CLEAN
            straight = sampling.scheduler in STRAIGHT
            set_step(StepContext(index, sampling.steps, t, guidance.branches(t), end if straight else None))
            output = guidance.predict(noisy, t, labels)  # (N, C or 2 C, h, w)
            if on_step:
                alpha, sigma = alphas[t].to(noisy), sigmas[t].to(noisy)
                on_step(
                    Step(
                        index,
                        sampling.steps,
                        clean_estimate(output[:, :channels], noisy, alpha, sigma, schedule.prediction),
                    )
                )
            if sampling.scheduler in STOCHASTIC:
                noisy = solver.step(output, timestep, noisy, generator=generators, return_dict=False)[0]
            else:
                noisy = solver.step(output[:, :channels], timestep, noisy, return_dict=False)[0]
    return noisy


def generate(
    model: Model,
    labels: Sequence[int],
    *,
    seed: int = 0,
    first: int = 0,
    batch_size: int = 32,
    sampling: SamplingConfig = SamplingConfig(),  # noqa: B008 (frozen)
    on_step: Callable[[Step], None] | None = None,
) -> Tensor:
    """Return images (N, 3, H, W) uint8 on the CPU, one per label. Image i uses the noise of image `first + i`.

    The images do not depend on the batch size, up to rounding. Raises BadRequest if a label does not exist.
    """
    return generate_and_check(
        model, labels, seed=seed, first=first, batch_size=batch_size, sampling=sampling, on_step=on_step
    ).images


def generate_and_check(
    model: Model,
    labels: Sequence[int],
    *,
    seed: int = 0,
    first: int = 0,
    batch_size: int = 32,
    sampling: SamplingConfig = SamplingConfig(),  # noqa: B008 (frozen)
    on_step: Callable[[Step], None] | None = None,
) -> Decoded:
    """Return the images of `generate`, and which of them are finite. Images that are not finite are black."""
    if not labels or batch_size < 1:
        raise BadRequest("Ask for at least one image, in batches of at least one.")
    if unknown := [label for label in labels if not 0 <= label <= len(model.classes)]:
        raise BadRequest(f"There is no class {unknown[0]}: labels go from 0 to {len(model.classes) - 1}.")
    device = next(model.dit.parameters()).device
    batches = []
    for start in range(0, len(labels), batch_size):
        batch = labels[start : start + batch_size]
        seeds = [image_seed(seed, first + start + i) for i in range(len(batch))]
        latents = sample_latents(model, torch.tensor(batch, device=device), seeds, sampling, on_step)
        batches.append(model.decode_and_check(latents))
    return Decoded(*(torch.cat([values.cpu() for values in column]) for column in zip(*batches, strict=True)))
