"""Guidance caching: the unconditional branch of guidance only in some steps."""

import copy
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from dit_core.models.structure import Structure
from dit_core.recipes.context import Context
from dit_core.recipes.registry import technique
from dit_core.sampling.config import SamplingConfig

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class GuidanceCaching:
    """Run the unconditional branch of guidance in every n-th step only (FasterCache, arXiv 2410.19355).

    The difference of the two branches changes slowly, so the steps between keep the last one and run one pass instead
    of two. With every second step a quarter of the passes is saved.
    """

    interval: int = field(
        default=2,
        metadata={
            "help": "Run the unconditional branch in every n-th guided step. More than the number of steps: only once.",
            "min": 1,
            "max": 1000,
        },
    )


def incompatible(config: GuidanceCaching, network: Structure) -> str | None:
    """Return an error message if the network has no unconditional branch."""
    return "its guidance is distilled into one pass: leave guidance_caching out." if network.takes_guidance else None


def sampling(config: GuidanceCaching, base: SamplingConfig) -> SamplingConfig:
    """Run both branches in every n-th guided step."""
    return replace(base, guidance_every=config.interval)


@technique(GuidanceCaching, title="Guidance caching", family="caching", incompatible=incompatible, sampling=sampling)
def keep_network(model: "nn.Module", config: GuidanceCaching, context: Context) -> "nn.Module":
    """Return a network that shares all weights with `model`."""
    return copy.copy(model)
