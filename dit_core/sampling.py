"""The denoising loop over diffusers' schedulers, with classifier-free guidance.

The noise of an image comes from its own seed alone: a batch is only a way of computing. Guidance is
`unconditional + scale * (conditional - unconditional)` (arXiv 2207.12598), so a scale of 1 is the plain model and needs
no second pass.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler, UniPCMultistepScheduler
from torch import Tensor

from dit_core.diffusion import ScheduleConfig, alphas_sigmas, betas, clean_estimate
from dit_core.errors import BadRequest
from dit_core.models.model import Decoded, Model

SCHEDULERS: dict[str, tuple[type, dict[str, Any]]] = {
    "ddpm": (DDPMScheduler, {"clip_sample": False}),
    "ddim": (DDIMScheduler, {"clip_sample": False, "set_alpha_to_one": True}),
    "dpm++2m": (DPMSolverMultistepScheduler, {"algorithm_type": "dpmsolver++", "solver_order": 2}),
    "unipc": (UniPCMultistepScheduler, {"solver_order": 2}),
}


@dataclass(frozen=True)
class Sampling:
    """How to denoise. `guidance_channels` 0 guides all channels, 3 the first three as the published code does."""

    scheduler: str = "dpm++2m"
    steps: int = 20
    guidance: float = 2.0
    guidance_channels: int = 0


@dataclass(frozen=True)
class Step:
    """What a callback sees of a step: `clean` (N, C, h, w) is the current estimate of the latents, `index` from 1."""

    index: int
    of: int
    clean: Tensor


def make_scheduler(name: str, schedule: ScheduleConfig, learned_variance: bool = False) -> Any:
    """The diffusers scheduler of that name on this noise schedule, with trailing timesteps (arXiv 2305.08891)."""
    if name not in SCHEDULERS:
        raise BadRequest(f"Unknown scheduler {name!r}: use one of {', '.join(SCHEDULERS)}.")
    kind, options = SCHEDULERS[name]
    if name == "ddpm" and learned_variance:
        options = {**options, "variance_type": "learned_range"}
    return kind(
        num_train_timesteps=schedule.train_steps,
        trained_betas=betas(schedule).numpy().astype("float32"),
        prediction_type=schedule.prediction,
        timestep_spacing="trailing",
        **options,
    )


def image_seed(seed: int, index: int) -> int:
    """Seed of image `index` of a run: depends on nothing else."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{index}".encode()).digest()[:7], "big")


def starting_noise(shape: tuple[int, ...], generators: Sequence[torch.Generator], device: torch.device) -> Tensor:
    """(N, *shape) standard normal noise, drawn on the CPU so that every device starts from the same."""
    return torch.stack([torch.randn(shape, generator=generator) for generator in generators]).to(device)


@torch.inference_mode()
def sample_latents(
    model: Model,
    labels: Tensor,
    seeds: Sequence[int],
    sampling: Sampling,
    on_step: Callable[[Step], None] | None = None,
) -> Tensor:
    """Denoise one batch: `labels` (N,) on the model's device and N `seeds`; returns latents (N, C, h, w).

    `on_step` may raise `errors.Cancelled` to stop.
    """
    learned = model.config.dit.learn_sigma
    solver = make_scheduler(sampling.scheduler, model.config.schedule, learned)
    solver.set_timesteps(sampling.steps)
    alphas, sigmas = alphas_sigmas(model.config.schedule)
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    noisy = starting_noise(model.latent_shape, generators, labels.device)
    channels = noisy.shape[1]
    for index, timestep in enumerate(solver.timesteps, start=1):
        t = int(timestep)
        output = predict(model, noisy, t, labels, sampling)
        if on_step:
            alpha, sigma = alphas[t].to(noisy), sigmas[t].to(noisy)
            clean = clean_estimate(output[:, :channels], noisy, alpha, sigma, model.config.schedule.prediction)
            on_step(Step(index, sampling.steps, clean))
        if sampling.scheduler == "ddpm":
            noisy = solver.step(output, timestep, noisy, generator=generators, return_dict=False)[0]
        else:
            noisy = solver.step(output[:, :channels], timestep, noisy, return_dict=False)[0]
    return noisy


def predict(model: Model, noisy: Tensor, t: int, labels: Tensor, sampling: Sampling) -> Tensor:
    """One guided evaluation of the network: (N, C or 2 C, h, w). Both passes run in one batch.

    A network that takes the guidance scale as an input needs one pass.
    """
    n = len(labels)
    times = torch.full((n,), t, device=noisy.device)
    if takes_guidance(model.dit):
        if sampling.guidance_channels:
            raise BadRequest("Distilled guidance acts on all channels: set guidance_channels to 0.")
        return model.dit(noisy, times, labels, guidance=torch.full((n,), sampling.guidance, device=noisy.device))
    if sampling.guidance == 1:
        return model.dit(noisy, times, labels)
    null = torch.full_like(labels, len(model.classes))
    both = model.dit(torch.cat([noisy, noisy]), torch.cat([times, times]), torch.cat([labels, null]))
    conditional, unconditional = both.chunk(2)
    k = sampling.guidance_channels or noisy.shape[1]
    mixed = torch.lerp(unconditional[:, :k], conditional[:, :k], sampling.guidance)
    return torch.cat([mixed, conditional[:, k:]], dim=1)


def takes_guidance(dit: Any) -> bool:
    """Whether the network has learned guidance, and takes its scale as an input."""
    return getattr(dit, "guidance_embedder", None) is not None


def generate(
    model: Model,
    labels: Sequence[int],
    *,
    seed: int = 0,
    first: int = 0,
    batch_size: int = 32,
    sampling: Sampling = Sampling(),
    on_step: Callable[[Step], None] | None = None,
) -> Tensor:
    """Images (N, 3, H, W) uint8 on the CPU, one per label; image i uses the noise of `first + i`.

    The same images come whatever the batch size, up to rounding. Raises BadRequest for a label that does not exist.
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
    sampling: Sampling = Sampling(),
    on_step: Callable[[Step], None] | None = None,
) -> Decoded:
    """The same, and which images are finite: a broken network's are black."""
    if not labels or batch_size < 1:
        raise BadRequest("Ask for at least one image, in batches of at least one.")
    if wrong := [label for label in labels if not 0 <= label <= len(model.classes)]:
        raise BadRequest(f"There is no class {wrong[0]}: labels go from 0 to {len(model.classes) - 1}.")
    device = next(model.dit.parameters()).device
    parts = []
    for start in range(0, len(labels), batch_size):
        part = labels[start : start + batch_size]
        seeds = [image_seed(seed, first + start + i) for i in range(len(part))]
        latents = sample_latents(model, torch.tensor(part, device=device), seeds, sampling, on_step)
        parts.append(model.decode_and_check(latents))
    return Decoded(*(torch.cat([values.cpu() for values in column]) for column in zip(*parts, strict=True)))
