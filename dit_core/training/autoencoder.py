"""Training of the bundled autoencoder: mean squared error plus a small KL term to a unit Gaussian."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

from dit_core.data import ImageSet
from dit_core.errors import BadRequest
from dit_core.training.loop import Loss


@dataclass(frozen=True)
class AutoencoderSize:
    """Size of an autoencoder, and the weight of the KL term. Raises BadRequest if no autoencoder has this size."""

    block_out_channels: list[int]
    latent_channels: int
    norm_num_groups: int
    layers_per_block: int
    kl_weight: float

    def __post_init__(self) -> None:
        for name in ("latent_channels", "norm_num_groups", "layers_per_block"):
            if getattr(self, name) < 1:
                raise BadRequest(f"{name} must be at least 1, got {getattr(self, name)}.")
        channels = self.block_out_channels
        if not channels or any(type(each) is not int or each < 1 or each % self.norm_num_groups for each in channels):
            raise BadRequest(
                f"block_out_channels must be multiples of norm_num_groups {self.norm_num_groups}, got {channels}."
            )


def build_vae(model: AutoencoderSize, side: int) -> AutoencoderKL:
    """Build a small convolutional `AutoencoderKL` for images of `side` pixels.

    It halves the side between two entries of `block_out_channels`.
    """
    levels = len(model.block_out_channels)
    return AutoencoderKL(
        block_out_channels=tuple(model.block_out_channels),  # type: ignore[arg-type]
        down_block_types=("DownEncoderBlock2D",) * levels,  # type: ignore[arg-type]
        up_block_types=("UpDecoderBlock2D",) * levels,  # type: ignore[arg-type]
        latent_channels=model.latent_channels,
        layers_per_block=model.layers_per_block,
        norm_num_groups=model.norm_num_groups,
        mid_block_add_attention=False,
        sample_size=side,
        scaling_factor=1.0,  # set here: otherwise `from_config` prefers the default to a value registered later
        shift_factor=0.0,
    )


def vae_loss(images: ImageSet, batch_size: int, kl_weight: float) -> Loss:
    """Return the loss: squared error per pixel plus `kl_weight` times the KL divergence per latent value."""
    pixels = to_unit(torch.from_numpy(images.pixels))

    def loss(vae: nn.Module, generator: torch.Generator, done: float) -> Tensor:
        device = next(vae.parameters()).device
        x = pixels[torch.randint(len(pixels), (batch_size,), generator=generator)].to(device)  # (B, 3, H, W)
        posterior = vae.encode(x).latent_dist
        noise = torch.randn(posterior.mean.shape, generator=generator).to(device)
        output = vae.decode(posterior.mean + posterior.std * noise).sample
        return (output - x).square().mean() + kl_weight * posterior.kl().mean() / posterior.mean[0].numel()

    return loss


def to_unit(pixels: Tensor) -> Tensor:
    """Convert (N, H, W, 3) uint8 pixels to (N, 3, H, W) floats in [-1, 1]."""
    return pixels.permute(0, 3, 1, 2).float().div(127.5).sub(1).contiguous()


@torch.inference_mode()
def encode(vae: AutoencoderKL, images: ImageSet, batch_size: int = 256) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of the latents of all images: (N, C, h, w) each, unscaled, on the CPU."""
    pixels = (to_unit(torch.from_numpy(part)).to(vae.device) for part in _batches(images.pixels, batch_size))
    parts = [vae.encode(part).latent_dist for part in pixels]
    return torch.cat([part.mean for part in parts]).cpu(), torch.cat([part.std for part in parts]).cpu()


@torch.inference_mode()
def reconstruction_psnr(vae: AutoencoderKL, images: ImageSet, batch_size: int = 256) -> float:
    """Return the peak signal-to-noise ratio in dB over all pixels of all images, computed on uint8 output."""
    error = count = 0.0
    for part in _batches(images.pixels, batch_size):
        x = torch.from_numpy(part).to(vae.device)
        output = vae.decode(vae.encode(to_unit(x)).latent_dist.mean).sample
        displayed = output.add(1).mul(127.5).round().clamp(0, 255).permute(0, 2, 3, 1)
        error += (displayed - x).square().sum().item()
        count += x.numel()
    return 10 * torch.log10(torch.tensor(255.0**2 * count / error)).item()


def save_vae(vae: AutoencoderKL, images: ImageSet, folder: Path) -> None:
    """Write float16 weights in diffusers' format, with the shift and scale that normalize the training latents."""
    mean, std = encode(vae, images)
    shift = mean.mean().item()
    spread = (mean.var() + std.square().mean()).sqrt().item()
    vae.register_to_config(shift_factor=shift, scaling_factor=1 / spread)
    half = AutoencoderKL.from_config(vae.config)
    half.load_state_dict(vae.state_dict())
    half.half().save_pretrained(folder, safe_serialization=True)


def _batches(array: Any, size: int) -> Any:
    return (array[start : start + size] for start in range(0, len(array), size))
