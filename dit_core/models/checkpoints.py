"""Read and write weights: hashes, finite checks, safetensors, and the published fast-DiT and DiT formats.

A checkpoint may come from anywhere: pickles are read with `weights_only=True`, so code in them never runs.
"""

import gzip
import hashlib
import math
import pickle
import zlib
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from dit_core.errors import BadRequest
from dit_core.files import write_bytes
from dit_core.models.dit import PRESETS, DiT, DiTConfig

ROW = 32  # shorter rows are not worth a scale
SCALE, DIFFERENCE = ".row_scale", ".difference"
RELEASE = "https://dl.fbaipublicfiles.com/DiT/models"


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def check_hash(path: Path, expected: str) -> None:
    """Raise BadRequest where the file is missing or is not the one that was saved."""
    if not path.is_file():
        raise BadRequest(f"{path.name} is missing from {path.parent}: restore it.")
    if (found := sha256(path)) != expected:
        raise BadRequest(
            f"{path} is damaged or was changed (sha256 {found[:12]}, expected {expected[:12]}): restore it."
        )


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Tensors of a safetensors file, packed by gzip or not; raises BadRequest where it is truncated or not one."""
    try:
        data = path.read_bytes()
        return load(gzip.decompress(data) if path.suffix == ".gz" else data)
    except (OSError, EOFError, zlib.error, SafetensorError, ValueError) as error:
        raise BadRequest(f"{path} is not a whole safetensors file: restore it.") from error


def read_any(path: Path) -> dict[str, Tensor]:
    """State dict of a `.safetensors` file or of a fast-DiT `.pt` (its averaged weights where it has them)."""
    if path.suffix == ".safetensors":
        return read_safetensors(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError, ValueError) as error:
        raise BadRequest(f"{path} is damaged, or holds more than weights: it was not loaded.") from error
    return _state_dict(content, str(path))


def download(file: str) -> dict[str, Tensor]:
    """State dict of the original release, from torch hub's cache or the network."""
    try:
        content = torch.hub.load_state_dict_from_url(f"{RELEASE}/{file}", map_location="cpu", weights_only=True)
    except OSError as error:
        raise BadRequest(f"{file} is not in torch hub's cache and cannot be downloaded: connect once.") from error
    return _state_dict(content, file)


def infer_config(state: dict[str, Tensor]) -> DiTConfig:
    """The size of the network that a published state dict belongs to; raises BadRequest where it is no DiT."""
    try:
        width, in_channels, patch, _ = state["x_embedder.proj.weight"].shape
        tokens = state["pos_embed"].shape[1]
        outputs = state["final_layer.linear.bias"].shape[0] // patch**2
        classes = state["y_embedder.embedding_table.weight"].shape[0] - 1
        neurons = state["blocks.0.mlp.fc1.weight"].shape[0]
    except (KeyError, ValueError) as error:
        raise BadRequest(
            "These weights are not those of a DiT: x_embedder, blocks or final_layer is missing."
        ) from error
    depth = 1 + max(int(key.split(".")[1]) for key in state if key.startswith("blocks."))
    heads = {(preset.hidden_size, preset.depth): preset.num_heads for preset in PRESETS.values()}
    if (width, depth) not in heads:
        raise BadRequest(f"No preset has width {width} and depth {depth}: give the model as a folder with config.json.")
    return DiTConfig(
        input_size=math.isqrt(tokens) * patch,
        patch_size=patch,
        in_channels=in_channels,
        hidden_size=width,
        depth=depth,
        num_heads=heads[width, depth],
        mlp_ratio=neurons / width,
        num_classes=classes,
        learn_sigma=outputs == 2 * in_channels,
    )


def load_dit(state: dict[str, Tensor], config: DiTConfig) -> DiT:
    """A float32 network with these weights, strictly; raises BadRequest where they do not fit or are not finite."""
    if bad := next((key for key, value in state.items() if not torch.isfinite(value).all()), None):
        raise BadRequest(f"The weights of {bad} are not finite: the checkpoint is damaged.")
    with torch.device("meta"):
        dit = DiT(config)
    try:
        dit.load_state_dict({key: value.float() for key, value in state.items()}, strict=True, assign=True)
    except RuntimeError as error:
        raise BadRequest(f"The weights do not fit the network: {str(error).splitlines()[-1].strip()}") from error
    return dit.requires_grad_(False)


def write_safetensors(state: dict[str, Tensor], path: Path, metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file, packed by gzip where its name ends so; the same weights give the same bytes."""
    data = save(state, metadata)
    write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data, path)


def compact(state: dict[str, Tensor], base: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state dict in few bytes, for `expand`: matrices in int8, each row in units of its own scale.

    Where a matrix lies close to that of the same name in `base`, its difference is kept instead, in units of the same
    size: as exact, and with less in it for gzip to pack.
    """
    small = {}
    for name, value in state.items():
        value = value.float()
        if value.ndim < 2 or value.shape[-1] < ROW:
            small[name] = value.half()
            continue
        scale = (value.abs().amax(-1, keepdim=True) / 127).clamp(min=1e-6).half()
        near = base.get(name)
        difference = value - near.to(value) if near is not None and near.shape == value.shape else value
        differs = (difference.abs() <= 127 * scale.float()).all() and difference.norm() < value.norm()
        codes = ((difference if differs else value) / scale.float()).round().clamp(-127, 127).to(torch.int8)
        small[name + DIFFERENCE if differs else name] = codes
        small[name + SCALE] = scale
    return {name: value.contiguous() for name, value in small.items()}


def expand(state: dict[str, Tensor], base: dict[str, Tensor]) -> dict[str, Tensor]:
    """The float32 weights of a state dict, whether `compact` made it or not; raises BadRequest for another `base`."""
    full = {}
    for key, value in state.items():
        if key.endswith(SCALE):
            continue
        name = key.removesuffix(DIFFERENCE)
        full[name] = value.float() * state[name + SCALE].float() if name + SCALE in state else value.float()
        if key.endswith(DIFFERENCE):
            if name not in base or base[name].shape != value.shape:
                raise BadRequest(f"{name} is kept as a difference from weights that this model does not have.")
            full[name] += base[name].float().to(value.device)
    return full


def _state_dict(content: object, name: str) -> dict[str, Tensor]:
    if isinstance(content, dict):
        content = content.get("ema", content.get("model", content))
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise BadRequest(f"{name} holds no state dict: give a checkpoint of fast-DiT or DiT.")
    return content
