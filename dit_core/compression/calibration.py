"""Calibration inputs of a network, taken from its own denoising trajectories. No data set is needed.

The activations of a diffusion model change with the timestep, so calibration inputs cover all timesteps (Q-Diffusion,
arXiv 2302.04304). They are the inputs of the network while it generates images with guidance from seeded noise.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dit_core.errors import BadRequest, Cancelled
from dit_core.models.hooks import hooked
from dit_core.models.schedule import ScheduleConfig
from dit_core.recipes.context import Context
from dit_core.sampling.config import SamplingConfig
from dit_core.sampling.loop import Step, sample_latents
from dit_core.sampling.noise import image_seed

SAMPLING = SamplingConfig(scheduler="ddim", steps=8)
INPUTS_PER_IMAGE = 4  # of 16 (8 steps, with and without the label): inputs from more images are more diverse
BATCH = 32

Inputs = tuple[Tensor, Tensor, Tensor]


def calibration(model: nn.Module, context: Context, samples: int) -> Inputs:
    """Return `samples` inputs of the network, on its device: x_t (N, C, h, w), t (N,) and y (N,).

    `model` replaces the network of `context.model` and generates images; a random part of all its inputs is kept.
    Without `context.model`, latents are normal noise and timesteps uniform. If the context holds a calibration set, its
    first `samples` inputs are returned; if it holds a function that draws one, its result. The seed is `context.seed`;
    none of the images belongs to the run.

    Raises BadRequest if `samples` is below 1 or the given set is empty, Cancelled if the context says so.
    """
    if samples < 1:
        raise BadRequest(f"calibration must be at least 1 sample, got {samples}.")
    if context.draw_calibration is not None:
        return context.draw_calibration(samples)
    if context.calibration is not None:
        if not len(context.calibration[0]):
            raise BadRequest("The given calibration set is empty. Give at least one sample.")
        x, t, y = (part[:samples] for part in context.calibration)
        return x, t, y
    generator = torch.Generator().manual_seed(image_seed(context.seed, -1))
    if context.model is None:
        return _noise(model, samples, generator)
    x, t, y = _trajectories(model, context, -(-samples // INPUTS_PER_IMAGE), generator)
    kept = torch.randperm(len(t), generator=generator)[:samples].to(t.device)
    return x[kept], t[kept], y[kept]


def batches(inputs: Inputs, size: int = BATCH) -> Iterator[Inputs]:
    """Split the inputs into batches of at most `size`."""
    yield from zip(*(part.split(size) for part in inputs), strict=True)


class Features(NamedTuple):
    """Statistics of the input features of a layer over its tokens: (in_features,) each."""

    mean: Tensor
    rms: Tensor  # root mean square


@torch.no_grad()
def input_features(model: nn.Module, layers: Sequence[str], inputs: Inputs) -> dict[str, Features]:
    """Return statistics of the inputs of the named linear layers while the network runs on `inputs`."""
    sums: dict[str, Any] = dict.fromkeys(layers, 0.0)
    squares: dict[str, Any] = dict.fromkeys(layers, 0.0)
    tokens = dict.fromkeys(layers, 0)

    def add(name: str, args: tuple[Any, ...]) -> None:
        x = args[0].flatten(0, -2).float()  # (tokens, in_features)
        sums[name] = sums[name] + x.sum(0)
        squares[name] = squares[name] + x.square().sum(0)
        tokens[name] += len(x)

    with hooked({name: model.get_submodule(name) for name in layers}, pre=add):
        for batch in batches(inputs):
            model(*batch)
    return {name: Features(sums[name] / tokens[name], (squares[name] / tokens[name]).sqrt()) for name in layers}


def _trajectories(model: nn.Module, context: Context, images: int, generator: torch.Generator) -> Inputs:
    """Return all inputs of `model` while it generates `images` images, of all classes in a random order."""
    assert context.model is not None
    seen: list[Inputs] = []
    done, of = 0, SAMPLING.steps * -(-images // BATCH)

    def on_step(step: Step) -> None:
        nonlocal done
        if context.cancelled():
            raise Cancelled("The run was cancelled.")
        done += 1
        context.progress("calibrate", done, of)

    device = next(model.parameters()).device
    order = torch.randperm(len(context.model.classes), generator=generator)
    labels = order[torch.arange(images) % len(order)].to(device)
    seeds = [image_seed(context.seed, -2 - index) for index in range(images)]
    with hooked([model], pre=lambda _, args: seen.append(args)):
        for start in range(0, images, BATCH):
            part = slice(start, start + BATCH)
            sample_latents(context.model.with_dit(model), labels[part], seeds[part], SAMPLING, on_step)
    x, t, y = (torch.cat(parts) for parts in zip(*seen, strict=True))
    return x, t, y


def _noise(model: Any, samples: int, generator: torch.Generator) -> Inputs:
    device, config = next(model.parameters()).device, model.config
    x = torch.randn(samples, config.in_channels, config.input_size, config.input_size, generator=generator)
    t = torch.randint(ScheduleConfig().train_steps, (samples,), generator=generator)
    y = torch.randint(config.labels, (samples,), generator=generator)
    return x.to(device), t.to(device), y.to(device)
