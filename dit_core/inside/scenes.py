"""Pictures during denoising, and the inputs of the network at some of the steps."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from dit_core.compression.calibration import Inputs
from dit_core.data import sheets
from dit_core.models.hooks import hooked
from dit_core.models.model import Model
from dit_core.sampling.config import SamplingConfig
from dit_core.sampling.loop import Step, sample_latents
from dit_core.sampling.noise import image_seed

COUNT = 4  # pictures
SAMPLING = SamplingConfig()


class Scenes(NamedTuple):
    """`inputs` of the network at each chosen step, the conditional half: x (N, C, h, w), t (N,), y (N,)."""

    labels: list[int]
    timesteps: list[int]
    inputs: list[Inputs]
    estimates: Tensor  # (steps, N, 3, H, W) uint8: the estimate of the clean picture
    final: Tensor  # (N, 3, H, W) uint8


def labels_of(model: Model, count: int = COUNT) -> list[int]:
    """Return `count` evenly spaced class labels."""
    return [index * len(model.classes) // count for index in range(count)]


def scenes(model: Model, seed: int, steps: Sequence[int]) -> Scenes:
    """Generate one picture of each class of `labels_of` and record these steps, counted from 1."""
    labels = torch.tensor(labels_of(model))
    seen: list[Inputs] = []
    estimates: list[Tensor] = []

    def on_step(step: Step) -> None:
        if step.index in steps:
            estimates.append(model.decode(step.clean))

    with hooked([model.dit], pre=lambda _, args: seen.append(args)):
        seeds = [image_seed(seed, index) for index in range(len(labels))]
        latents = sample_latents(model, labels, seeds, SAMPLING, on_step)
    chosen: list[Inputs] = []
    for index in steps:
        x, t, y = (part[: len(labels)].clone() for part in seen[index - 1])
        chosen.append((x, t, y))
    times = [int(t[0]) for _, t, _ in chosen]
    return Scenes(labels.tolist(), times, chosen, torch.stack(estimates), model.decode(latents))


def drawn(model: Model, seed: int, sampling: SamplingConfig | None = None) -> Tensor:
    """Generate one picture of each class of `labels_of` from the noise of `scenes`: (N, 3, H, W) uint8."""
    labels = torch.tensor(labels_of(model))
    seeds = [image_seed(seed, index) for index in range(len(labels))]
    return model.decode(sample_latents(model, labels, seeds, sampling or SAMPLING))


def sheet(rows: Sequence[Tensor]) -> bytes:
    """Join rows of pictures, (N, 3, H, W) each, into one lossless WebP sheet."""
    return sheets.webp(sheets.sheet(torch.cat(list(rows)), len(rows[0])))
