"""Read and write the weights of model folders: hashes, finite checks, safetensors. `formats` reads files of others."""

import hashlib
import lzma
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from dit_core.errors import BadRequest
from dit_core.models.dit import DiT, DiTConfig
from dit_core.system import causes
from dit_core.system.files import write_bytes

ROW = 32  # shorter rows are not worth a scale
SCALE, DIFFERENCE = ".row_scale", ".difference"


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def check_hash(path: Path, expected: str) -> None:
    """Raise BadRequest if the file is missing or does not have the expected SHA-256."""
    if not path.is_file():
        raise BadRequest(f"{path.name} is missing from {path.parent}: restore it.")
    if (digest := sha256(path)) != expected:
        raise BadRequest(
            f"{path} is damaged or was changed (sha256 {digest[:12]}, expected {expected[:12]}): restore it."
        )


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file, also of one compressed with xz. Raises BadRequest if it is damaged."""
    try:
        data = path.read_bytes()
        return load(lzma.decompress(data) if path.suffix == ".xz" else data)
    except OSError as error:
        raise BadRequest(causes.not_read(path, error)) from error
    except (EOFError, lzma.LZMAError, SafetensorError, ValueError) as error:
        raise BadRequest(f"{path} is not a whole safetensors file: restore it.") from error


def load_dit(state: dict[str, Tensor], config: DiTConfig) -> DiT:
    """Return a float32 network with these weights. Raises BadRequest if they do not fit exactly or are not finite."""
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
    """Write a safetensors file, packed by xz if its name ends in `.xz`; the same weights give the same bytes."""
    data = save(state, metadata)
    write_bytes(lzma.compress(data, preset=9 | lzma.PRESET_EXTREME) if path.suffix == ".xz" else data, path)


def compact(state: dict[str, Tensor], base: dict[str, Tensor]) -> dict[str, Tensor]:
    """Compress a state dict for `expand`: matrices become int8 codes with a scale for each row.

    If a matrix is close to the one with the same name in `base`, the codes of the difference are stored instead, with
    the same scale. The precision is the same, and xz compresses the codes better.
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
    """Return the float32 weights of a state dict, compact or not. Raises BadRequest if `base` lacks a weight."""
    full = {}
    for key, value in state.items():
        if key.endswith(SCALE):
            continue
        name = key.removesuffix(DIFFERENCE)
        full[name] = value.float() * state[name + SCALE].float() if name + SCALE in state else value.float()
        if key.endswith(DIFFERENCE):
            if name not in base or base[name].shape != value.shape:
                raise BadRequest(f"{name} is stored as a difference from weights that this model does not have.")
            full[name] += base[name].float().to(value.device)
    return full
