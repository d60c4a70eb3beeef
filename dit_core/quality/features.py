"""Image features for Frechet distance and KID, computed without a network connection."""

import torch
import torch.nn.functional as F
from torch import Tensor

from dit_core.quality.efficientnet import load_efficientnet

EXTRACTOR = "efficientnet-lite0"
SIDE = 64  # images are resized to this side, bilinearly
DIMENSIONS = 1280


@torch.inference_mode()
def features(images: Tensor, batch_size: int = 128) -> Tensor:
    """(N, 3, H, W) uint8 to (N, 1280) float32 pooled features. Raises ValueError where one is not finite."""
    network = load_efficientnet()
    parts = []
    for part in images.split(batch_size):
        resized = F.interpolate(part.float(), (SIDE, SIDE), mode="bilinear", align_corners=False)
        parts.append(network.features(((resized - 127) / 128).contiguous(memory_format=torch.channels_last)))
    out = torch.cat(parts)
    if not torch.isfinite(out).all():
        raise ValueError("the features are not finite")
    return out
