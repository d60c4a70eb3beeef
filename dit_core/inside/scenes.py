"""Pictures on their way from noise, and what the network was given at some of the steps."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from dit_core import sheets
from dit_core.models.model import Model
from dit_core.sampling import Sampling, Step, image_seed, sample_latents
from dit_core.training.calibration import Inputs

COUNT = 4  # pictures
SAMPLING = Sampling()


class Scenes(NamedTuple):
    """`inputs` of the network at each of the chosen steps, its conditional half: x (N, C, h, w), t (N,), y (N,)."""

    labels: list[int]
    timesteps: list[int]
    inputs: list[Inputs]
    estimates: Tensor  # (steps, N, 3, H, W) uint8: the clean picture that the network sees in the noise
    final: Tensor  # (N, 3, H, W) uint8


def labels_of(model: Model, count: int = COUNT) -> list[int]:
    """`count` classes, evenly spaced."""
    return [index * len(model.classes) // count for index in range(count)]


def scenes(model: Model, seed: int, steps: Sequence[int]) -> Scenes:
    """Draw one picture of each of `labels_of`, watched at these steps, counted from 1."""
    labels = torch.tensor(labels_of(model))
    seen: list[Inputs] = []
    estimates: list[Tensor] = []

    def on_step(step: Step) -> None:
        if step.index in steps:
            estimates.append(model.decode(step.clean))

    hook = model.dit.register_forward_pre_hook(lambda module, args: seen.append(args))
    try:
        seeds = [image_seed(seed, index) for index in range(len(labels))]
        latents = sample_latents(model, labels, seeds, SAMPLING, on_step)
    finally:
        hook.remove()
    chosen: list[Inputs] = []
    for index in steps:
        x, t, y = (part[: len(labels)].clone() for part in seen[index - 1])
        chosen.append((x, t, y))
    times = [int(t[0]) for _, t, _ in chosen]
    return Scenes(labels.tolist(), times, chosen, torch.stack(estimates), model.decode(latents))


def drawn(model: Model, seed: int) -> Tensor:
    """(N, 3, H, W) uint8, one picture of each of `labels_of`, from the noise that `scenes` begins with."""
    labels = torch.tensor(labels_of(model))
    return model.decode(sample_latents(model, labels, [image_seed(seed, i) for i in range(len(labels))], SAMPLING))


def sheet(rows: Sequence[Tensor]) -> bytes:
    """Rows of pictures (N, 3, H, W) as lossless WebP."""
    return sheets.webp(sheets.sheet(torch.cat(list(rows)), len(rows[0])))
