"""The Inception network that FID is defined by, where its weights can be had.

Weights are the 2015 TensorFlow graph as ported by pytorch-fid and torch-fidelity, with 1,008 classes. That graph
averages only over pixels inside the image, takes a maximum in its last block, and shrinks images as TensorFlow 1 did;
torchvision's network is given those three habits (Heusel et al., arXiv 1706.08500; Parmar et al., arXiv 2104.11222).
"""

import hashlib
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dit_core.errors import BadRequest

SIDE = 299
CLASSES = 1008
MAP_CHANNELS = 7  # of the first branch of the block called mixed_6: 17 x 17 x 7 numbers (arXiv 2103.03841)
NAMES = ("pt_inception-2015-12-05-6726825d.pth", "weights-inception-2015-12-05-6726825d.pth")
URL = f"https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/{NAMES[0]}"
VARIABLE = "DIT_INCEPTION"


class NoInception(RuntimeError):
    """There is no FID here; the message is the reason."""


@dataclass(frozen=True)
class Inception:
    """The network and a short hash of its weights, which is part of every metric's name."""

    network: nn.Module
    digest: str

    @torch.inference_mode()
    def extract(self, images: Tensor, batch_size: int = 32) -> tuple[Tensor, Tensor, Tensor]:
        """(N, 3, H, W) uint8 to pooled features (N, 2048), spatial ones (N, 2023) and logits without bias (N, 1008)."""
        pooled, spatial = [], []
        keep = {"Mixed_6d": spatial, "avgpool": pooled}
        hooks = [
            self.network.get_submodule(name).register_forward_hook(lambda m, i, out, kept=kept: kept.append(out))
            for name, kept in keep.items()
        ]
        try:
            for part in images.split(batch_size):
                self.network((resize(part.float(), SIDE) - 128) / 128)
                spatial[-1] = (
                    spatial[-1][:, :MAP_CHANNELS].permute(0, 2, 3, 1).flatten(1)
                )  # in the order of ADM's files
        finally:
            for hook in hooks:
                hook.remove()
        features = torch.cat(pooled).flatten(1)
        if not torch.isfinite(features).all():
            raise ValueError("the features are not finite")
        weight: Any = self.network.fc.weight
        return features, torch.cat(spatial), features @ weight.T


def load() -> Inception:
    """The network; raises NoInception with the reason where its weights are not at hand, BadRequest where broken."""
    return _load(weights_path())


def weights_path() -> Path:
    """The file named by DIT_INCEPTION, or one in torch hub's cache; DIT_INCEPTION=download fetches it first."""
    wanted = os.environ.get(VARIABLE, "")
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    if wanted == "off":
        raise NoInception(f"FID is off ({VARIABLE}=off)")
    if wanted not in ("", "download"):
        if not Path(wanted).is_file():
            raise BadRequest(f"{VARIABLE} names {wanted}, which is no file: name the weights, download or off.")
        return Path(wanted)
    if found := next((folder / name for name in NAMES if (folder / name).is_file()), None):
        return found
    if wanted != "download":
        raise NoInception(f"no Inception weights: set {VARIABLE} to their file, or to download")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        torch.hub.download_url_to_file(URL, str(folder / NAMES[0]), hash_prefix="6726825d", progress=False)
    except (OSError, RuntimeError) as error:
        raise NoInception(f"the Inception weights could not be downloaded: {error}") from error
    return folder / NAMES[0]


def build() -> nn.Module:
    """torchvision's Inception v3 with the pooling of the TensorFlow graph, in evaluation mode."""
    from torchvision.models.inception import Inception3, InceptionA, InceptionC, InceptionE

    network = Inception3(num_classes=CLASSES, aux_logits=False, transform_input=False, init_weights=False)
    for name, block in network.named_children():
        if isinstance(block, InceptionA | InceptionC | InceptionE):
            pool_like_tensorflow(block, largest=name == "Mixed_7c")
    return network.eval().requires_grad_(False)


def pool_like_tensorflow(block: nn.Module, largest: bool) -> None:
    """Give a block's pooling branch the mean over pixels inside the image, or the largest; in place."""
    seen: dict[str, Any] = {}

    def before(module: nn.Module, inputs: tuple[Tensor]) -> None:
        seen["x"] = inputs[0]

    def pooled(module: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
        x = seen.pop("x")
        if largest:
            return (F.max_pool2d(x, kernel_size=3, stride=1, padding=1),)
        return (F.avg_pool2d(x, kernel_size=3, stride=1, padding=1, count_include_pad=False),)

    block.register_forward_pre_hook(before)
    block.branch_pool.register_forward_pre_hook(pooled)


def resize(images: Tensor, side: int) -> Tensor:
    """(N, C, H, W) to (N, C, side, side), bilinear as in TensorFlow 1: pixel i comes from i * H / side."""
    rows, columns = (_interpolation(length, side).to(images) for length in images.shape[-2:])
    return rows @ images @ columns.T


def _interpolation(length: int, side: int) -> Tensor:
    """(side, length) weights of the two neighbours of each new pixel."""
    place = torch.arange(side, dtype=torch.float64) * (length / side)
    low = place.floor().long().clamp(max=length - 1)
    high, far = (low + 1).clamp(max=length - 1), place - low
    weights = torch.zeros(side, length, dtype=torch.float64)
    index = torch.arange(side)
    weights[index, low] += 1 - far
    weights[index, high] += far
    return weights


@cache
def _load(path: Path) -> Inception:
    network = build()
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        network.load_state_dict(state, strict=True)
    except Exception as error:
        raise BadRequest(f"{path.name} does not hold the Inception weights of FID: name another file.") from error
    if not all(torch.isfinite(value).all() for value in network.state_dict().values() if value.is_floating_point()):
        raise BadRequest(f"{path.name} holds weights that are not finite: fetch it again.")
    return Inception(network, hashlib.sha256(path.read_bytes()).hexdigest()[:8])
