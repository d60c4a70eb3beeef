"""Guidance interval: classifier-free guidance only between two timesteps."""

import copy
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from dit_core.recipes.context import Context
from dit_core.recipes.registry import technique
from dit_core.records.spec import checked_interval
from dit_core.sampling.config import SamplingConfig

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class GuidanceInterval:
    """Guide only between two timesteps (Kynkaanniemi et al., arXiv 2404.07724).

    Guidance at the end of denoising adds little, and at the very start it reduces variety. Outside the interval a step
    is one pass of the network instead of two, with the class only. A network with distilled guidance runs one pass
    anyway; outside the interval it gets the scale 1.
    """

    low: int = field(default=200, metadata={"help": "Lowest timestep with guidance.", "min": 0, "max": 1000})
    high: int = field(
        default=1000,
        metadata={"help": "Highest timestep with guidance; the first step is near 1000.", "min": 0, "max": 1000},
    )

    def __post_init__(self) -> None:
        checked_interval((self.low, self.high))


def sampling(config: GuidanceInterval, base: SamplingConfig) -> SamplingConfig:
    """Restrict guidance to the interval."""
    return replace(base, guidance_interval=(config.low, config.high))


@technique(GuidanceInterval, title="Guidance interval", family="sampling", sampling=sampling)
def keep_network(model: "nn.Module", config: GuidanceInterval, context: Context) -> "nn.Module":
    """Return a network that shares all weights with `model`."""
    return copy.copy(model)
