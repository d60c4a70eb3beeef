"""A loaded model: a network, its autoencoder and its configuration."""

from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

from dit_core.models.dit import DiT, DiTConfig
from dit_core.models.schedule import ScheduleConfig

DECODED_VALUES = 2**27  # 512 MiB in float32


@dataclass(frozen=True)
class ModelConfig:
    """A model without its weights: name, class names, size and noise schedule; part of a model folder's config.json."""

    name: str
    classes: tuple[str, ...]
    dit: DiTConfig
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)


class Decoded(NamedTuple):
    """`images` (N, 3, H, W) uint8. `finite` (N,): whether all values of an image were finite before conversion."""

    images: Tensor
    finite: Tensor

    @property
    def broken(self) -> int:
        """Number of images with values that were not finite; these pixels are black."""
        return int((~self.finite).sum())


@dataclass(frozen=True)
class Model:
    """A network (any module with DiT's forward and `config`), its autoencoder and its configuration.

    A random model has no autoencoder (`vae` is None), because only its network is timed.
    """

    dit: nn.Module
    vae: AutoencoderKL | None
    config: ModelConfig

    @property
    def classes(self) -> tuple[str, ...]:
        return self.config.classes

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        dit = self.config.dit
        return dit.in_channels, dit.input_size, dit.input_size

    @property
    def image_size(self) -> int:
        """Height and width of a decoded image in pixels."""
        pixels = 1 if self.vae is None else 2 ** (len(self.vae.config.block_out_channels) - 1)  # type: ignore[union-attr]
        return self.config.dit.input_size * pixels

    def decode(self, latents: Tensor) -> Tensor:
        """Decode normalized latents (N, C, h, w) to uint8 images (N, 3, H, W) on the same device.

        Without an autoencoder the first three channels become red, green and blue, one pixel for each latent: -2 is 0
        and 2 is 255.
        """
        return self.decode_and_check(latents).images

    @torch.inference_mode()
    def decode_and_check(self, latents: Tensor) -> Decoded:
        """Decode latents, and report which images are finite: in uint8, NaN cannot be told from black.

        So many images are decoded together that the decoder's largest activation has at most DECODED_VALUES values.
        """
        parts = [self._decode(part) for part in latents.split(self._decoded_together)]
        return Decoded(*(torch.cat(column) for column in zip(*parts, strict=True)))

    @property
    def _decoded_together(self) -> int:
        if self.vae is None:
            return DECODED_VALUES // self.image_size**2
        channels = self.vae.config.block_out_channels  # type: ignore[union-attr]
        widest = max(channels[:2])  # the decoder's last upsampling still has the channels of the block before
        return max(1, DECODED_VALUES // (widest * self.image_size**2))

    def _decode(self, latents: Tensor) -> Decoded:
        if self.vae is None:
            values = latents[:, :3].float().add(2).mul(255 / 4)
        else:
            config: Any = self.vae.config
            latents = latents / config.scaling_factor + (config.shift_factor or 0.0)
            values = self.vae.decode(latents.to(self.vae.dtype)).sample.float().add(1).mul(127.5)  # type: ignore[union-attr]
        images = values.round().clamp(0, 255).nan_to_num(0).to(torch.uint8)
        return Decoded(images, torch.isfinite(values).flatten(1).all(1))

    def with_dit(self, dit: nn.Module) -> "Model":
        """Return the same model with another network."""
        return replace(self, dit=dit)

    def to(self, device: str | torch.device) -> "Model":
        """Return the model on `device`, in evaluation mode."""
        vae = self.vae.to(device).eval() if self.vae else None  # type: ignore[union-attr]
        return replace(self, dit=self.dit.to(device).eval(), vae=vae)


def cast(network: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Convert the float32 weights of a network in place to a type of 16 bits, and return it.

    Packed weights keep their form. So do tensors that a module names as `exact`, because rounding them costs quality.
    """
    kept = {id(getattr(m, name)) for m in network.modules() for name in getattr(type(m), "exact", ())}

    def converted(tensor: Tensor) -> Tensor:
        plain = tensor.dtype == torch.float32 and not hasattr(tensor, "__tensor_flatten__")
        return tensor.to(dtype) if plain and id(tensor) not in kept else tensor

    return network if dtype == torch.float32 else network._apply(converted)


def build_dit(config: DiTConfig, seed: int = 0) -> DiT:
    """Return a network with random weights in the published initialization, drawn with `seed`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return DiT(config)
