"""A small network with the interface of torch-fidelity's Inception, for tests of what is computed from its features."""

import torch
from torch import nn

from dit_core.quality import adm
from dit_core.quality.frechet import statistics
from dit_core.quality.inception import Inception
from tests.quality.samples import random_images


class TinyInception(nn.Module):
    """uint8 images to 6 pooled features and 5 logits; the map is 2 x 2."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.Mixed_6d = nn.Conv2d(3, 9, 16, stride=16)
            self.mix = nn.Conv2d(9, 6, 1)
            self.fc = nn.Linear(6, 5, bias=False)

    def forward(self, images):
        pooled = self.mix(torch.relu(self.Mixed_6d((images.float() - 128) / 128))).mean((2, 3))
        return pooled, self.fc(pooled)


def tiny_inception() -> Inception:
    return Inception(TinyInception().requires_grad_(False), "0badcafe")


def reference_bytes(inception: Inception) -> bytes:
    """A reference file of 50 random images."""
    features = inception.extract(random_images(50, 9))
    return adm.reference_bytes(statistics(features.pooled), statistics(features.spatial))
