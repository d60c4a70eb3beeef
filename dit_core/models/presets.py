"""Sizes of diffusion transformers, as plain data: what can be checked before torch and weights are loaded."""

from dataclasses import dataclass

LOWEST_GUIDANCE, HIGHEST_GUIDANCE = 1.0, 6.0  # scales that a network which takes guidance has learned


@dataclass(frozen=True)
class DiTConfig:
    """Size of a network. `input_size` is the side of the square latent; `learn_sigma` doubles the output channels."""

    input_size: int = 32
    patch_size: int = 2
    in_channels: int = 4
    hidden_size: int = 1152
    depth: int = 28
    num_heads: int = 16
    mlp_ratio: float = 4.0
    num_classes: int = 1000
    learn_sigma: bool = True

    @property
    def out_channels(self) -> int:
        return self.in_channels * (2 if self.learn_sigma else 1)

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
