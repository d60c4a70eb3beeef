"""Sizes of diffusion transformers, as plain data: what can be checked before torch and weights are loaded."""

import math
from dataclasses import dataclass

from dit_core.errors import BadRequest
from dit_core.models.schedule import SECOND_TIMES, VELOCITIES

PIXELS_PER_LATENT = 8  # along one side, for the autoencoder that published DiTs were trained with
LOWEST_GUIDANCE, HIGHEST_GUIDANCE = 1.0, 6.0  # scales that a network which takes guidance has learned


@dataclass(frozen=True)
class DiTConfig:
    """Size of a network; raises BadRequest if no network has it.

    `input_size` is the side of the square latent; `learn_sigma` doubles the output channels. With `null_label` there is
    one more label, for the unconditional branch of guidance. Networks that diffusers trained have `block_embedders`, an
    embedder of timestep and label in every block, and a `frequency_shift` of 1 in the frequencies of the timestep.
    `velocity` is the kind of velocity that the weights predict (`schedule.VELOCITIES`), empty for none. Networks that
    predict the mean velocity of a whole step have a second timestep embedder, and `second_time` is what it gets
    (`schedule.SECOND_TIMES`).
    """

    input_size: int = 32
    patch_size: int = 2
    in_channels: int = 4
    hidden_size: int = 1152
    depth: int = 28
    num_heads: int = 16
    mlp_ratio: float = 4.0
    num_classes: int = 1000
    learn_sigma: bool = True
    null_label: bool = True
    block_embedders: bool = False
    frequency_shift: int = 0
    velocity: str = ""
    second_time: str = ""

    def __post_init__(self) -> None:
        for name in ("input_size", "patch_size", "in_channels", "hidden_size", "depth", "num_heads", "num_classes"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise BadRequest(f"{name} of a network must be a whole number of at least 1, got {value!r}.")
        for name in ("learn_sigma", "null_label", "block_embedders"):
            if not isinstance(value := getattr(self, name), bool):
                raise BadRequest(f"{name} of a network must be true or false, got {value!r}.")
        ratio = self.mlp_ratio
        if type(ratio) not in (int, float) or not math.isfinite(ratio) or int(self.hidden_size * ratio) < 1:
            raise BadRequest(f"mlp_ratio of a network must be a positive number, got {ratio!r}.")
        if type(self.frequency_shift) is not int:
            raise BadRequest(f"frequency_shift of a network must be a whole number, got {self.frequency_shift!r}.")
        if self.velocity not in ("", *VELOCITIES):
            raise BadRequest(f"Unknown velocity {self.velocity!r} of a network: use one of {', '.join(VELOCITIES)}.")
        if self.second_time not in ("", *SECOND_TIMES):
            raise BadRequest(f"Unknown second_time {self.second_time!r}: use one of {', '.join(SECOND_TIMES)}.")
        if self.second_time and not self.velocity:
            raise BadRequest(f"A second timestep needs a velocity: set prediction to one of {', '.join(VELOCITIES)}.")
        if self.input_size % self.patch_size:
            raise BadRequest(f"An input_size of {self.input_size} is no multiple of the patch_size {self.patch_size}.")
        if self.hidden_size % self.num_heads:
            raise BadRequest(f"A hidden_size of {self.hidden_size} is no multiple of num_heads {self.num_heads}.")
        if self.hidden_size % 4:
            raise BadRequest(f"A hidden_size of {self.hidden_size} is no multiple of 4, as positions need it.")

    @property
    def labels(self) -> int:
        """Rows of the label embedding."""
        return self.num_classes + self.null_label

    @property
    def out_channels(self) -> int:
        return self.in_channels * (2 if self.learn_sigma else 1)

    @property
    def predicts_variance(self) -> bool:
        """Whether the variance logits mean something: they are not trained with velocities."""
        return self.learn_sigma and not self.velocity

    @property
    def grid(self) -> int:
        """Tokens along one side of the image."""
        return self.input_size // self.patch_size

    @property
    def tokens(self) -> int:
        return self.grid**2


_SIZES = {"XL": (1152, 28, 16), "L": (1024, 24, 16), "B": (768, 12, 12), "S": (384, 12, 6), "XS": (256, 12, 4)}
PRESETS: dict[str, DiTConfig] = {
    f"DiT-{size}/{patch}": DiTConfig(patch_size=patch, hidden_size=width, depth=depth, num_heads=heads)
    for size, (width, depth, heads) in _SIZES.items()
    for patch in (2, 4, 8)
}
