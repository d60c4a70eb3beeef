"""Seeds and starting noise. The noise of an image depends only on its own seed, not on the batch it is drawn in."""

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor


def image_seed(seed: int, index: int) -> int:
    """Return the seed of image `index` of a run with this seed."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{index}".encode()).digest()[:7], "big")


def starting_noise(shape: tuple[int, ...], generators: Sequence[torch.Generator], device: torch.device) -> Tensor:
    """Return standard normal noise (N, *shape), drawn on the CPU so that it is the same for every device."""
    return torch.stack([torch.randn(shape, generator=generator) for generator in generators]).to(device)
