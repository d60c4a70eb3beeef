"""Inputs on which to calibrate a network, drawn from its own trajectories: they need no data set.

Activations of a diffusion model change with the timestep, so a calibration set spans them (Q-Diffusion, arXiv
2302.04304). The inputs here are those that the network meets when it generates, guided, from seeded noise.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dit_core.diffusion import ScheduleConfig
from dit_core.errors import BadRequest, Cancelled
from dit_core.sampling import Sampling, Step, image_seed, sample_latents
from dit_core.techniques import Context

SAMPLING = Sampling(scheduler="ddim", steps=8)
INPUTS_PER_IMAGE = 4  # of the 16 that its 8 steps visit with and without the label: more images, less alike
BATCH = 32

Inputs = tuple[Tensor, Tensor, Tensor]


def calibration(model: nn.Module, context: Context, samples: int) -> Inputs:
    """`samples` inputs of the network, on its device: x_t (N, C, h, w), t (N,) and y (N,).

    Images are generated with `model` in place of the network of `context.model`, and a random part of all inputs on
    their way is kept. Without `context.model` latents are normal noise and timesteps uniform. A set that `context`
    already holds comes back, cut to `samples`. Seeded by `context.seed`, yet no image is one of the run's.
    """
    if samples < 1:
        raise BadRequest(f"calibration: take at least one sample, got {samples}.")
    if context.calibration is not None:
        if not len(context.calibration[0]):
            raise BadRequest("calibration: the given calibration set is empty: give at least one sample.")
        x, t, y = (part[:samples] for part in context.calibration)
        return x, t, y
    generator = torch.Generator().manual_seed(image_seed(context.seed, -1))
    if context.model is None:
        return _noise(model, samples, generator)
    x, t, y = _trajectories(model, context, -(-samples // INPUTS_PER_IMAGE), generator)
    kept = torch.randperm(len(t), generator=generator)[:samples].to(t.device)
    return x[kept], t[kept], y[kept]


def batches(inputs: Inputs, size: int = BATCH) -> Iterator[Inputs]:
    """The inputs in parts of at most `size`."""
    yield from zip(*(part.split(size) for part in inputs), strict=True)


class Features(NamedTuple):
    """Over the tokens that a layer saw, for each of its input features: (in_features,) each."""

    mean: Tensor
    rms: Tensor  # root mean square


@torch.no_grad()
def input_features(model: nn.Module, layers: Sequence[str], inputs: Inputs) -> dict[str, Features]:
    """What the named linear layers are given while the network runs on `inputs`."""
    sums: dict[str, Any] = dict.fromkeys(layers, 0.0)
    squares: dict[str, Any] = dict.fromkeys(layers, 0.0)
    tokens = dict.fromkeys(layers, 0)

    def watch(name: str) -> Any:
        def hook(module: nn.Module, args: tuple[Tensor]) -> None:
            x = args[0].flatten(0, -2).float()  # (tokens, in_features)
            sums[name] = sums[name] + x.sum(0)
            squares[name] = squares[name] + x.square().sum(0)
            tokens[name] += len(x)

        return model.get_submodule(name).register_forward_pre_hook(hook)

    hooks = [watch(name) for name in layers]
    try:
        for batch in batches(inputs):
            model(*batch)
    finally:
        for hook in hooks:
            hook.remove()
    return {name: Features(sums[name] / tokens[name], (squares[name] / tokens[name]).sqrt()) for name in layers}


def _trajectories(model: nn.Module, context: Context, images: int, generator: torch.Generator) -> Inputs:
    """All inputs of `model` while it generates `images` images; classes take turns, in random order."""
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
    hook = model.register_forward_pre_hook(lambda module, args: seen.append(args))
    try:
        for start in range(0, images, BATCH):
            part = slice(start, start + BATCH)
            sample_latents(context.model.with_dit(model), labels[part], seeds[part], SAMPLING, on_step)
    finally:
        hook.remove()
    x, t, y = (torch.cat(parts) for parts in zip(*seen, strict=True))
    return x, t, y


def _noise(model: Any, samples: int, generator: torch.Generator) -> Inputs:
    device, config = next(model.parameters()).device, model.config
    x = torch.randn(samples, config.in_channels, config.input_size, config.input_size, generator=generator)
    t = torch.randint(ScheduleConfig().train_steps, (samples,), generator=generator)
    y = torch.randint(config.num_classes + 1, (samples,), generator=generator)
    return x.to(device), t.to(device), y.to(device)
