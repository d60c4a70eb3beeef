"""Autoencoders of published models: a folder in diffusers' format, or a name on Hugging Face.

Imports torch only to load.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dit_core.errors import BadRequest
from dit_core.models.presets import PIXELS_PER_LATENT
from dit_core.system import causes
from dit_core.system.files import named_path

if TYPE_CHECKING:
    from diffusers import AutoencoderKL

SHORT_NAMES = {"ema": "stabilityai/sd-vae-ft-ema", "mse": "stabilityai/sd-vae-ft-mse"}
DEFAULT = SHORT_NAMES["ema"]  # the autoencoder that DiT and fast-DiT were trained with
CONFIG_FILE = "config.json"
WEIGHTS_FILES = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin")
DOWNLOAD_BYTES = 335_000_000  # of Stable Diffusion's


def full_name(name: str) -> str:
    """Return the Hugging Face name of a short name, the absolute path of a folder, else the name itself."""
    if name in SHORT_NAMES:
        return SHORT_NAMES[name]
    folder = named_path(name)
    return str(folder.resolve()) if folder.is_dir() else name


def local_folder(name: str) -> Path | None:
    """Return the folder of an autoencoder on this machine; None if it must be downloaded first."""
    folder = named_path(name)
    if folder.is_dir():
        return folder if (folder / CONFIG_FILE).is_file() or not (folder / "vae").is_dir() else folder / "vae"
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = [try_to_load_from_cache(name, file) for file in (CONFIG_FILE, *WEIGHTS_FILES)]
    except HFValidationError as error:
        raise BadRequest(
            f"{name} is neither a folder nor a Hugging Face name: set autoencoder to one of them."
        ) from error
    config, *weights = (Path(file) if isinstance(file, str) else None for file in found)
    return config.parent if config and any(weights) else None


def files_of(name: str) -> list[Path]:
    """Return configuration and weights of an autoencoder; empty if it is not on this machine."""
    folder = local_folder(name)
    if folder is None:
        return []
    return [path for file in (CONFIG_FILE, *WEIGHTS_FILES) if (path := folder / file).is_file()]


def pixels_per_latent(name: str) -> int:
    """Return the pixels along a side for each latent; 8 if the autoencoder is not on this machine."""
    blocks = (_config(name) or {}).get("block_out_channels")
    return 2 ** (len(blocks) - 1) if blocks else PIXELS_PER_LATENT


def check(name: str, channels: int, model: str) -> None:
    """Raise BadRequest if an autoencoder on this machine is not complete or does not fit the network's channels."""
    config = _config(name)
    if config is None:
        return
    if len(files_of(name)) < 2:
        raise BadRequest(f"{name} lacks {WEIGHTS_FILES[0]}: restore it, or set autoencoder to another folder.")
    _check_channels(config.get("latent_channels", 4), channels, name, model)


def load(name: str, channels: int, model: str) -> "AutoencoderKL":
    """Load an autoencoder in float32, after a download if it is not on this machine.

    Raises BadRequest if that is not possible, or if it does not fit the network's channels.
    """
    check(name, channels, model)
    vae = read(name, f"{model} needs the autoencoder {name}, ")
    _check_channels(vae.config.latent_channels, channels, name, model)  # type: ignore[union-attr]
    return vae


def read(name: str, needed: str = "") -> "AutoencoderKL":
    """Load any autoencoder in float32, after a download if it is not on this machine. Raises BadRequest."""
    import torch
    from diffusers import AutoencoderKL

    folder = local_folder(name)
    options: dict[str, Any] = {"torch_dtype": torch.float32, "low_cpu_mem_usage": False}
    try:
        vae = AutoencoderKL.from_pretrained(folder or name, **options, local_files_only=folder is not None)
    except Exception as error:
        raise BadRequest((needed or f"The autoencoder {name}, ") + _problem(error, folder)) from error
    return vae  # type: ignore[return-value]


def not_downloaded(error: Exception, name: str, variable: str) -> BadRequest:
    """Return what to change after a download failed; `variable` names the folder that the file belongs into."""
    if causes.is_disk_full(error):
        return BadRequest(f"{name} does not fit on the disk: set {variable} to a folder on another disk.")
    if cause := causes.system_error(error):
        return BadRequest(f"The download of {causes.not_written(name, cause, f'set {variable}')}")
    return BadRequest(f"{name} cannot be downloaded: connect to the internet once.")


def _problem(error: Exception, folder: Path | None) -> str:
    if causes.is_disk_full(error):
        return "but the disk is full: free some space, or set HF_HOME to a folder on another disk."
    if folder is not None:
        if cause := causes.system_error(error):
            return f"but {causes.not_read(folder, cause)}"
        return f"but {folder} is damaged or is no autoencoder: restore it."
    if cause := causes.system_error(error):
        return f"which cannot be kept, because {causes.cause_of(cause)}: set HF_HOME to another folder."
    return "which is not on this machine: connect to the internet once to download it, or set autoencoder to a folder."


def _config(name: str) -> dict[str, Any] | None:
    """Return the configuration of an autoencoder; None if it is not on this machine."""
    folder = local_folder(name)
    if folder is None:
        return None
    try:
        config = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    except OSError as error:
        raise BadRequest(causes.not_read(folder / CONFIG_FILE, error)) from error
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"{folder} is no autoencoder of diffusers: it has no valid {CONFIG_FILE}.") from error
    if not isinstance(config, dict) or "latent_channels" not in config:
        raise BadRequest(f"{folder / CONFIG_FILE} does not describe an autoencoder: set autoencoder to another folder.")
    return config


def _check_channels(own: int, channels: int, name: str, model: str) -> None:
    if own != channels:
        raise BadRequest(
            f"{model} has {channels} latent channels, but the autoencoder {name} has {own}: set autoencoder to one "
            f"with {channels}."
        )
