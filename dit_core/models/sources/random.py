"""A preset of DiT with random weights at any resolution, to measure what size costs: `random:DiT-S/2@512`."""

import hashlib
import json
from dataclasses import asdict, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from dit_core.errors import BadRequest
from dit_core.models.presets import PIXELS_PER_LATENT, PRESETS, DiTConfig
from dit_core.models.sources.base import Missing, ModelSource

if TYPE_CHECKING:
    from dit_core.models.model import Model

PREFIX = "random:"
EXAMPLES = ("DiT-XS/2@256", "DiT-S/2@256", "DiT-S/2@512")
MIN_PIXELS, MAX_PIXELS = 64, 2048
SEED = 0  # of the weights
GATE_STD = 0.02  # standard deviation of the weights that training initializes to zero
ADDED = ("second_time",)  # fields that a digest has only where they are set, since records were made without them


class Random(ModelSource):
    """A network of a published size with random weights and no autoencoder. Its images mean nothing."""

    cost_only = True

    def __init__(self, name: str, size: DiTConfig) -> None:
        super().__init__(name)
        self._size = size

    @classmethod
    def find(cls, name: str) -> "Random | None":
        return _random(name) if name.startswith(PREFIX) else None

    @classmethod
    def names(cls) -> list[str]:
        return [f"{PREFIX}{example}" for example in EXAMPLES]

    @property
    def size(self) -> DiTConfig:
        return self._size

    @property
    def digest(self) -> str:
        size = {name: value for name, value in asdict(self.size).items() if value or name not in ADDED}
        drawn = json.dumps([size, SEED, GATE_STD], sort_keys=True)
        return hashlib.sha256(drawn.encode()).hexdigest()[:12]

    @property
    def reference_images(self) -> Missing:
        return Missing(f"the weights of {self.name} are random")

    @property
    def training_images(self) -> Missing:
        return Missing(f"the weights of {self.name} are random")

    @property
    def export_problem(self) -> str:
        return "it has no autoencoder"

    def load(self) -> "Model":
        """Draw the weights with a fixed seed. Gates and output, which training initializes to zero, are drawn too.

        There is no autoencoder, so that the timed workload is the network only.
        """
        import torch
        from torch import nn

        from dit_core.models.model import Model, ModelConfig, build_dit

        dit = build_dit(self.size, SEED)
        generator = torch.Generator().manual_seed(SEED)
        for parameter in dit.parameters():
            if parameter.requires_grad and not parameter.any():
                nn.init.normal_(parameter, std=GATE_STD, generator=generator)
        config = ModelConfig(self.name, self.class_names or (), self.size, self.schedule)
        return Model(dit.requires_grad_(False), None, config)


@lru_cache(maxsize=256)
def _random(name: str) -> Random:
    """Parse `random:PRESET@PIXELS`. Raises BadRequest if the preset or the resolution is not valid."""
    preset, at, pixels = name.removeprefix(PREFIX).partition("@")
    if not at or not pixels.isdecimal():
        raise BadRequest(f"Write a random model as {PREFIX}DiT-S/2@512, a preset and pixels along a side, not {name}.")
    if preset not in PRESETS:
        raise BadRequest(f"Unknown preset {preset!r} in {name}: use one of {', '.join(PRESETS)}.")
    side, step = int(pixels), PIXELS_PER_LATENT * PRESETS[preset].patch_size
    if side % step or not MIN_PIXELS <= side <= MAX_PIXELS:
        limits = f"a multiple of {step} (8 times the patch) between {MIN_PIXELS} and {MAX_PIXELS}"
        raise BadRequest(f"{name} has a resolution that does not fit: use {limits}.")
    return Random(name, replace(PRESETS[preset], input_size=side // PIXELS_PER_LATENT))
