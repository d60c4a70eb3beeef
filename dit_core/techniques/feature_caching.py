"""Feature caching: reuse or forecast what blocks computed in earlier denoising steps."""

import copy
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from dit_core.models.structure import Structure
from dit_core.recipes.context import Context
from dit_core.recipes.knobs import layers_knob
from dit_core.recipes.registry import technique

if TYPE_CHECKING:
    from torch import nn

IMAGES, STEPS = 4, 24  # of the trajectory that a schedule is calibrated on


@dataclass(frozen=True)
class FeatureCaching:
    """Compute blocks in some denoising steps and reuse or forecast them in the others (arXiv 2407.01425, 2503.06923).

    What a block adds changes slowly from step to step, so most of it can be kept. Work falls with the share of steps
    that compute, and the more steps a run has, the less it costs. Weights do not change and nothing is trained. The
    last features stay in memory. Fewer steps also save work: compare with them.
    """

    method: str = field(
        default="taylor",
        metadata={
            "help": "interval: reuse between every n-th step (FORA). taylor: forecast with finite differences "
            "(TaylorSeer). first-block: compute when the first block's output has changed (FBCache, TeaCache). "
            "schedule: compute where this network changes most, calibrated on its own images (SmoothCache).",
            "choices": ("interval", "taylor", "first-block", "schedule"),
        },
    )
    interval: int = field(
        default=2,
        metadata={
            "help": "Compute in every n-th step. More than the number of steps: only the warm-up computes.",
            "min": 1,
            "max": 1000,
            "active_when": ({"method": ("interval", "taylor")},),
        },
    )
    warmup: int = field(
        default=4,
        metadata={
            "help": "Number of first steps that compute all blocks: features change most at the start.",
            "min": 1,
            "max": 1000,
        },
    )
    threshold: float = field(
        default=0.2,
        metadata={
            "help": "Relative change since the last computation from which blocks are computed again. 0 computes in "
            "every step; a change that is never reached computes only in the warm-up.",
            "min": 0.0,
            "max": 10.0,
            "active_when": ({"method": ("first-block", "schedule")},),
        },
    )
    order: int = field(
        default=1,
        metadata={
            "help": "Order of the forecast; 0 is the same as interval.",
            "min": 0,
            "max": 4,
            "active_when": ({"method": ("taylor",)},),
        },
    )
    layers: str = layers_knob()


def incompatible(config: FeatureCaching, network: Structure) -> str | None:
    """Return an error message if blocks are cached already, or if there is no block to cache."""
    if network.cached:
        return "its blocks are cached already: use feature_caching once."
    if config.method == "first-block" and not any(network.chosen(config.layers)):
        return f"first-block caches no block of {len(network.blocks)} with layers {config.layers}: use layers all."
    return None


def output_structure(config: FeatureCaching, network: Structure) -> Structure:
    """Return the structure with a cache."""
    return replace(network, cached=True)


@technique(
    FeatureCaching,
    title="Feature caching",
    family="caching",
    incompatible=incompatible,
    output_structure=output_structure,
)
def cache_features(model: Any, config: FeatureCaching, context: Context) -> "nn.Module":
    """Return a network that shares all weights with `model` and keeps features between steps."""
    from dit_core.models.state import FeatureCache

    weights = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    cached = copy.deepcopy(model, weights)  # type: ignore[arg-type]
    cached.cache = FeatureCache(
        config.method,
        interval=config.interval,
        warmup=config.warmup,
        threshold=config.threshold,
        order=config.order,
        layers=config.layers,
        change=measured_change(model, context) if config.method == "schedule" else (),
    )
    return cached


def measured_change(model: Any, context: Context) -> list[tuple[float, float]]:
    """Return (timestep, change accumulated from the noisiest step), by ascending timestep.

    The change of a step is the mean relative L1 distance between what all blocks add in it and in the step before, over
    images that the network generates without guidance. Raises Cancelled if the context says so.
    """
    import torch

    from dit_core.errors import Cancelled
    from dit_core.models.hooks import hooked
    from dit_core.models.model import Model, ModelConfig
    from dit_core.models.sources.base import numbered_classes
    from dit_core.sampling.config import SamplingConfig
    from dit_core.sampling.loop import Step, sample_latents
    from dit_core.sampling.noise import image_seed

    classes = numbered_classes(model.config.num_classes)
    frame = context.model or Model(model, None, ModelConfig("network", classes, model.config))
    added: list[Any] = []
    inputs: list[Any] = []

    def on_step(step: Step) -> None:
        if context.cancelled():
            raise Cancelled("The run was cancelled.")
        context.progress("calibrate", step.index, step.of)

    timesteps: list[float] = []
    labels = torch.arange(IMAGES, device=next(model.parameters()).device) % len(frame.classes)
    seeds = [image_seed(context.seed, -2 - index) for index in range(IMAGES)]
    sampling = SamplingConfig("ddim", STEPS, guidance=1.0)
    blocks = model.blocks
    with (
        hooked([model], pre=lambda _, args: timesteps.append(float(args[1][0]))),
        hooked([blocks[0]], pre=lambda _, args: inputs.append(args[0])),
        hooked([blocks[-1]], post=lambda _, args, output: added.append(output - inputs[-1])),
    ):
        sample_latents(frame.with_dit(model), labels, seeds, sampling, on_step)
    curve, total = [(timesteps[0], 0.0)], 0.0
    for timestep, before, after in zip(timesteps[1:], added, added[1:], strict=False):
        total += ((after - before).abs().sum() / before.abs().sum()).item()
        curve.append((timestep, total))
    return curve[::-1]
