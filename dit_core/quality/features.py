"""Image features for every metric of the offline extractor, in one pass and without a network connection."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from dit_core.quality.efficientnet import load_efficientnet

EXTRACTOR = "efficientnet-lite0"
SIDE = 64  # images are resized to this side, bilinearly
DIMENSIONS = 1280
MAP_CHANNELS, MAP_SIDE = 7, 8  # as many channels of a middle map as sFID takes of Inception's (arXiv 2103.03841)
MAP_DIMENSIONS = MAP_CHANNELS * MAP_SIDE**2


@dataclass(frozen=True)
class Extracted:
    """Features of N images, float32: `pooled` (N, 1280), `spatial` (N, 448), `logits` (N, 1000) over ImageNet."""

    pooled: Tensor
    spatial: Tensor
    logits: Tensor

    def __getitem__(self, rows: slice) -> "Extracted":
        return Extracted(self.pooled[rows], self.spatial[rows], self.logits[rows])


@torch.inference_mode()
def extract(images: Tensor, batch_size: int = 128) -> Extracted:
    """All features of (N, 3, H, W) uint8 images. Raises ValueError where one is not finite."""
    network = load_efficientnet()
    pooled, spatial = [], []
    for part in images.split(batch_size):
        resized = F.interpolate(part.float(), (SIDE, SIDE), mode="bilinear", align_corners=False)
        vector, middle = network.parts(((resized - 127) / 128).contiguous(memory_format=torch.channels_last))
        pooled.append(vector)
        spatial.append(middle[:, :MAP_CHANNELS].flatten(1))
    joined = torch.cat(pooled)
    found = Extracted(joined, torch.cat(spatial), network.logits(joined))
    if not all(torch.isfinite(values).all() for values in (found.pooled, found.spatial, found.logits)):
        raise ValueError("the features are not finite")
    return found


def features(images: Tensor, batch_size: int = 128) -> Tensor:
    """(N, 3, H, W) uint8 to (N, 1280) float32 pooled features. Raises ValueError where one is not finite."""
    return extract(images, batch_size).pooled
