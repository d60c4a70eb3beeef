"""The Inception network that FID is defined by, from torch-fidelity, if its weights are available.

The network is a port of the TensorFlow graph of 2015-12-05 with 1,008 classes (Heusel et al., arXiv 1706.08500): its
pooling ignores padding, its last block takes a maximum, and it resizes images as TensorFlow 1 did (Parmar et al.,
arXiv 2104.11222).
"""

import hashlib
import io
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dit_core.errors import BadRequest
from dit_core.models.hooks import hooked
from dit_core.quality.features import Features
from dit_core.quality.judgement import (
    INCEPTION_FILES,
    INCEPTION_HASH,
    Unavailable,
    hub_folder,
    inception_path,
    inception_problem,
)
from dit_core.system import causes

SIDE = 299
MAP_CHANNELS = 7  # of the block `mixed_6` in TensorFlow, `Mixed_6d` here: 17 x 17 x 7 numbers (arXiv 2103.03841)


@dataclass(frozen=True)
class Inception:
    """The network and the first digits of its weights' SHA-256, which are part of every metric's name.

    `network` maps (N, 3, H, W) uint8 images to pooled features (N, 2048) and logits without bias (N, 1008).
    """

    network: nn.Module
    digest: str

    @torch.inference_mode()
    def extract(self, images: Tensor, batch_size: int = 32) -> Features:
        """Extract the features of (N, 3, H, W) uint8 images: pooled (N, 2048), spatial (N, 2023), logits (N, 1008).

        Spatial features are in the order of guided-diffusion's files: rows, columns, channels. Raises ValueError if a
        feature is not finite.
        """
        pooled, spatial, logits = [], [], []

        def keep_map(_: int, args: tuple[Any, ...], output: Tensor) -> None:
            spatial.append(output[:, :MAP_CHANNELS].permute(0, 2, 3, 1).flatten(1))

        with hooked([self.network.get_submodule("Mixed_6d")], post=keep_map):
            for part in images.split(batch_size):
                vectors, scores = self.network(part)
                pooled.append(vectors)
                logits.append(scores)
        return Features(torch.cat(pooled), torch.cat(spatial), torch.cat(logits))


def load() -> Inception:
    """Load the network. Raises Unavailable if its weights are not available, BadRequest if their file is broken."""
    return _load(weights_path())


def weights_path() -> Path:
    """Return the file that DIT_INCEPTION names, or the one in torch hub's cache.

    With DIT_INCEPTION=download a file that is not in the cache is downloaded. Raises Unavailable if there is no file,
    BadRequest if DIT_INCEPTION names something else.
    """
    if path := inception_path():
        return path
    if problem := inception_problem():
        raise Unavailable(problem)
    return download()


def download() -> Path:
    """Download the weights into torch hub's cache and return their file. Raises Unavailable if that fails."""
    from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3

    path = hub_folder() / INCEPTION_FILES[0]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(URL_INCEPTION_V3, str(path), hash_prefix=INCEPTION_HASH, progress=False)
    except (OSError, RuntimeError) as error:
        if cause := causes.system_error(error):
            raise Unavailable(f"the download of {causes.not_written(path, cause, 'set TORCH_HOME')[:-1]}") from error
        raise Unavailable(f"the Inception weights could not be downloaded: {error}") from error
    return path


@cache
def _load(path: Path) -> Inception:
    from torch_fidelity import FeatureExtractorInceptionV3

    content = path.read_bytes()
    try:
        # torch-fidelity unpickles without restrictions, so it is given a copy that holds tensors only.
        tensors = io.BytesIO()
        torch.save(torch.load(io.BytesIO(content), map_location="cpu", weights_only=True), tensors)
        tensors.seek(0)
        network = FeatureExtractorInceptionV3("inception-v3-compat", ["2048", "logits_unbiased"], tensors)
    except Exception as error:
        raise BadRequest(f"{path.name} does not hold the Inception weights of FID: name another file.") from error
    if not all(torch.isfinite(value).all() for value in network.state_dict().values() if value.is_floating_point()):
        raise BadRequest(f"{path.name} holds weights that are not finite: download it again.")
    return Inception(network, hashlib.sha256(content).hexdigest()[:8])
