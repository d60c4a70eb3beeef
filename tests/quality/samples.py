"""Seeded random features and images for the tests of quality metrics, and a reference computation."""

import numpy as np
import torch
from scipy.linalg import sqrtm
from torch import nn

from dit_core.data import load_images


def random_features(count: int, dimensions: int, seed: int, shift: float = 0.0) -> torch.Tensor:
    """(count, dimensions) correlated normal features around `shift`."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(dimensions, dimensions, generator=torch.Generator().manual_seed(99))
    return torch.randn(count, dimensions, generator=generator) @ mix + shift


def random_images(count: int, seed: int) -> torch.Tensor:
    """(count, 3, 32, 32) uint8 noise."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, 32, 32), generator=generator, dtype=torch.uint8)


def bundled_images(count: int, part: str = "held_out") -> torch.Tensor:
    """The first `count` bundled images: (count, 3, 32, 32) uint8."""
    return torch.from_numpy(load_images(part).pixels[:count]).permute(0, 3, 1, 2).contiguous()


def scipy_distance(a: torch.Tensor, b: torch.Tensor) -> float:
    """The Frechet distance of (N, D) and (M, D) features, by scipy's matrix square root."""
    x, y = a.double().numpy(), b.double().numpy()
    root = sqrtm(np.cov(x.T) @ np.cov(y.T)).real
    return ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(np.cov(x.T) + np.cov(y.T) - 2 * root)


class Identity(nn.Module):
    """An extractor for torchmetrics whose images are features already."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x
