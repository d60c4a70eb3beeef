"""A model as a run needs it: load it from a folder or a published checkpoint, decode its latents, save it."""

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

from dit_core.diffusion import ScheduleConfig
from dit_core.errors import BadRequest
from dit_core.files import write_text
from dit_core.models import catalog, checkpoints, networks
from dit_core.models.dit import DiT, DiTConfig
from dit_core.models.outline import outline_of

DIT_FILE = "dit.safetensors"
NETWORK_FILE = "network.pt"
VAE_FOLDER = "vae"
VAE_FILE = f"{VAE_FOLDER}/diffusion_pytorch_model.safetensors"
GATE_STD = 0.02  # in a random model, of what training starts at zero


@dataclass(frozen=True)
class ModelConfig:
    """What a model is, beside its weights; `config.json` of a model folder."""

    name: str
    classes: tuple[str, ...]
    dit: DiTConfig
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)


class Decoded(NamedTuple):
    """`images` (N, 3, H, W) uint8, and of each whether all its values were `finite` (N,) before they became bytes."""

    images: Tensor
    finite: Tensor

    @property
    def broken(self) -> int:
        """Images with a value that was not finite; in the picture it is black."""
        return int((~self.finite).sum())


@dataclass(frozen=True)
class Model:
    """A network (any module with DiT's forward and `config`), its autoencoder and its configuration.

    A random model has no autoencoder: what it is timed for is the network.
    """

    dit: nn.Module
    vae: AutoencoderKL | None
    config: ModelConfig

    @property
    def classes(self) -> tuple[str, ...]:
        return self.config.classes

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        dit = self.config.dit
        return dit.in_channels, dit.input_size, dit.input_size

    @property
    def image_size(self) -> int:
        """Height and width of a decoded image in pixels."""
        enlarged = 1 if self.vae is None else 2 ** (len(self.vae.config.block_out_channels) - 1)  # type: ignore[union-attr]
        return self.config.dit.input_size * enlarged

    def decode(self, latents: Tensor) -> Tensor:
        """(N, C, h, w) normalized latents to (N, 3, H, W) uint8 images, on the same device.

        Without an autoencoder the first three channels are shown as they are, -2 as 0 and 2 as 255, one pixel a latent.
        """
        return self.decode_and_check(latents).images

    @torch.inference_mode()
    def decode_and_check(self, latents: Tensor) -> Decoded:
        """The same, and which images are finite: a byte cannot tell NaN from black."""
        if self.vae is None:
            values = latents[:, :3].float().add(2).mul(255 / 4)
        else:
            config: Any = self.vae.config
            latents = latents / config.scaling_factor + (config.shift_factor or 0.0)
            values = self.vae.decode(latents.to(self.vae.dtype)).sample.float().add(1).mul(127.5)  # type: ignore[union-attr]
        images = values.round().clamp(0, 255).nan_to_num(0).to(torch.uint8)
        return Decoded(images, torch.isfinite(values).flatten(1).all(1))

    def with_dit(self, dit: nn.Module) -> "Model":
        """The same model around another network."""
        return replace(self, dit=dit)


def load_model(name: str, device: str | torch.device = "cpu") -> Model:
    """Load a bundled model, a model folder, a published DiT by name or a fast-DiT checkpoint file, in float32.

    `random:DiT-S/2@512` draws the weights of a preset instead. Raises BadRequest where the name is unknown, or a file
    is missing, was changed or is not finite.
    """
    if catalog.is_random(name):
        model = _draw_random(name)
    elif name in catalog.PUBLISHED or Path(name).is_file():
        model = _load_published(name)
    else:
        model = _load_folder(name)
    vae = model.vae.to(device).eval() if model.vae else None  # type: ignore[union-attr]
    return Model(model.dit.to(device).eval(), vae, model.config)


def save_model(model: Model, folder: Path, extra: dict[str, Any] | None = None) -> None:
    """Write a model folder: weights with their hashes in `config.json`, which is written last.

    A plain DiT is saved as float16 safetensors, what a technique has made of it as the network that it is. Raises
    BadRequest for a model without an autoencoder, or with parts that no file can hold.
    """
    if model.vae is None:
        raise BadRequest(f"{model.config.name} has no autoencoder: it can be timed, but not saved.")
    folder.mkdir(parents=True, exist_ok=True)
    if plain := networks.is_plain(model.dit):
        state = {key: value.detach().half().contiguous() for key, value in model.dit.state_dict().items()}
        checkpoints.write_safetensors(state, folder / DIT_FILE)
    else:
        networks.write_network(model.dit, folder / NETWORK_FILE)
    _write_vae(model.vae, folder / VAE_FOLDER)
    files = {file: checkpoints.sha256(folder / file) for file in (DIT_FILE if plain else NETWORK_FILE, VAE_FILE)}
    size = asdict(getattr(model.dit, "config", model.config.dit))
    config = {
        **asdict(model.config),
        "dit": size,
        "classes": list(model.config.classes),
        "files": files,
        **({} if plain else {"outline": outline_of(model.dit).to_dict()}),
        **(extra or {}),
    }
    write_text(json.dumps(config, indent=1) + "\n", folder / "config.json")


def _write_vae(vae: AutoencoderKL, folder: Path) -> None:
    """In float16, without what diffusers notes of where it was loaded from."""
    config = {key: value for key, value in dict(vae.config).items() if key != "_name_or_path"}
    half = AutoencoderKL.from_config(config)
    half.load_state_dict(vae.state_dict())  # type: ignore[union-attr]
    half.half().save_pretrained(folder, safe_serialization=True)  # type: ignore[union-attr]


def _load_folder(name: str) -> Model:
    """A folder holds its own autoencoder, or names in `vae` the bundled model that it shares one with."""
    entry = catalog.find(name)
    shared = catalog.find(entry.config["vae"]).folder if "vae" in entry.config else entry.folder
    for file, expected in entry.config["files"].items():
        checkpoints.check_hash((shared if file == VAE_FILE else entry.folder) / file, expected)
    config = ModelConfig(
        name=entry.config.get("name", entry.folder.name),
        classes=tuple(entry.config["classes"]),
        dit=DiTConfig(**entry.config["dit"]),
        schedule=ScheduleConfig(**entry.config["schedule"]),
    )
    if NETWORK_FILE in entry.config["files"]:
        dit = networks.read_network(entry.folder / NETWORK_FILE)
    else:
        dit = checkpoints.load_dit(checkpoints.read_safetensors(entry.folder / DIT_FILE), config.dit)
    vae = AutoencoderKL.from_pretrained(
        shared / VAE_FOLDER, torch_dtype=torch.float32, low_cpu_mem_usage=False, local_files_only=True
    )
    return Model(dit, vae, config)


def _load_published(name: str) -> Model:
    if name in catalog.PUBLISHED:
        file, autoencoder = catalog.PUBLISHED[name]
        state = checkpoints.download(file)
    else:
        state, autoencoder = checkpoints.read_any(Path(name)), catalog.PUBLISHED["DiT-XL/2-256"][1]
    dit_config = checkpoints.infer_config(state)
    try:
        vae = AutoencoderKL.from_pretrained(autoencoder, torch_dtype=torch.float32, low_cpu_mem_usage=False)
    except OSError as error:
        raise BadRequest(f"{name} needs the autoencoder {autoencoder}: fetch it once with a network.") from error
    config = ModelConfig(catalog.portable_name(name), catalog.numbered_classes(dit_config.num_classes), dit_config)
    return Model(checkpoints.load_dit(state, dit_config), vae, config)


def _draw_random(name: str) -> Model:
    """A preset with weights drawn from a fixed seed; the gates and the output, which training starts at zero, too.

    There is no decoder: the timed workload is the network's alone, whose cost is what such a model is asked for.
    """
    dit_config = catalog.random_network(name)
    dit = build_dit(dit_config)
    generator = torch.Generator().manual_seed(0)
    for parameter in dit.parameters():
        if parameter.requires_grad and not parameter.any():
            nn.init.normal_(parameter, std=GATE_STD, generator=generator)
    classes = catalog.numbered_classes(dit_config.num_classes)
    return Model(dit.requires_grad_(False), None, ModelConfig(name, classes, dit_config))


def build_dit(config: DiTConfig, seed: int = 0) -> DiT:
    """A network with freshly drawn weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return DiT(config)
