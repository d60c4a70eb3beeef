"""A model folder: find it, load it and write one. Imports torch only to load and write.

config.json        name, classes, size, schedule and file hashes; of an exported model also structure and sampler
dit.safetensors    weights of an unchanged DiT in float16, or
network.pt         a network that techniques have changed (`models.serialization`)
vae/               autoencoder in diffusers' format, unless `vae` in config.json names the model that has it
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dit_core.errors import BadRequest
from dit_core.models import sources
from dit_core.models.formats import headers
from dit_core.models.formats.size import check_keys
from dit_core.models.presets import DiTConfig
from dit_core.models.schedule import ScheduleConfig
from dit_core.models.sources import autoencoders
from dit_core.models.sources.base import FileState, file_state
from dit_core.models.sources.exported import Exported
from dit_core.models.structure import Structure, structure_of
from dit_core.system import causes
from dit_core.system.files import user_path, write_text

if TYPE_CHECKING:
    from dit_core.models.model import Model

CONFIG_FILE = "config.json"
DIT_FILE, NETWORK_FILE = "dit.safetensors", "network.pt"
VAE_FOLDER = "vae"
VAE_FILE = f"{VAE_FOLDER}/diffusion_pytorch_model.safetensors"
REQUIRED = ("classes", "dit", "schedule", "files")


class Folder(Exported):
    """A model folder by its path."""

    path_of = "a model folder"

    def __init__(self, name: str, folder: Path) -> None:
        """Read `config.json`. Raises BadRequest if it is not valid."""
        super().__init__(name)
        self.folder = folder
        self._config = _read_config(folder / CONFIG_FILE)
        with self._valid("describes no DiT", "restore it"):
            self._size = DiTConfig(**self._config["dit"])
        with self._valid("has an invalid schedule", "restore it"):
            self._schedule = ScheduleConfig(**self._config["schedule"])
        with self._valid("names other classes than its network has", "restore it"):
            if len(self.class_names) != self._size.num_classes or not all(isinstance(n, str) for n in self.class_names):
                raise TypeError(f"{len(self.class_names)} names for {self._size.num_classes} classes")
        with self._valid("lists no files", "restore it"):
            self._files = dict(self._config["files"])  # name -> SHA-256
            if not all(isinstance(text, str) for pair in self._files.items() for text in pair):
                raise TypeError("it does not map names to hashes")
            if not {DIT_FILE, NETWORK_FILE} & set(self._files):
                raise KeyError(DIT_FILE)
        with self._valid("has an invalid outline", "export the model again"):
            self._structure = Structure.of(self._size)
            if "outline" in self._config:
                self._structure = Structure.from_dict(self._size, self._config["outline"])
        with self._valid("has an invalid sampler", "export the model again"):
            sampler = self._config.get("sampler")
            self._sampler = (sampler["scheduler"], sampler["steps"]) if sampler else None
            guidance = self._config.get("guidance")
            self._guidance = {f"guidance_{name}": guidance[name] for name in ("interval", "every")} if guidance else {}

    @classmethod
    def find(cls, name: str) -> "Folder | None":
        folder = user_path(name)
        state = file_state(folder / CONFIG_FILE)
        return cached(cls, name, folder, state) if state else None

    @property
    def size(self) -> DiTConfig:
        return self._size

    @property
    def structure(self) -> Structure:
        return self._structure

    @property
    def class_names(self) -> tuple[str, ...]:
        return tuple(self._config["classes"])

    @property
    def schedule(self) -> ScheduleConfig:
        return self._schedule

    @property
    def autoencoder(self) -> str | None:
        if "vae" in self._config:
            return sources.find(self._config["vae"]).autoencoder
        return str(self.folder / VAE_FOLDER)

    @property
    def sampler(self) -> tuple[str, int] | None:
        return self._sampler

    @property
    def run_fields(self) -> dict[str, Any]:
        return {**super().run_fields, **self._guidance}

    @property
    def made_from(self) -> str:
        return str(self._config.get("from", ""))

    @property
    def digest(self) -> str:
        parts = [self._config[name] for name in ("files", "schedule", "dit", "classes")]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def network_sha256(self) -> str | None:
        return self._files.get(DIT_FILE) or self._files.get(NETWORK_FILE)

    def check(self) -> None:
        """Raise BadRequest if a file is missing, or if network, autoencoder and `config.json` do not fit together."""
        for file in self._files:
            path = (Path(self.autoencoder or "").parent if file == VAE_FILE else self.folder) / file
            if not path.is_file():
                raise BadRequest(f"{self.name} lacks {path}: restore it.")
        autoencoders.check(self.autoencoder or "", self._size.in_channels, self.name)
        if DIT_FILE in self._files:
            path = self.folder / DIT_FILE
            _check_shapes(path, file_state(path), self._size)

    def load(self) -> "Model":
        import torch
        from diffusers import AutoencoderKL

        from dit_core.models import checkpoints, serialization
        from dit_core.models.model import Model, ModelConfig

        vae_folder = Path(self.autoencoder or "")
        for file, expected in self._files.items():
            checkpoints.check_hash((vae_folder.parent if file == VAE_FILE else self.folder) / file, expected)
        if NETWORK_FILE in self._files:
            dit = serialization.read_network(self.folder / NETWORK_FILE)
        else:
            dit = checkpoints.load_dit(checkpoints.read_safetensors(self.folder / DIT_FILE), self.size)
        vae = AutoencoderKL.from_pretrained(
            vae_folder, torch_dtype=torch.float32, low_cpu_mem_usage=False, local_files_only=True
        )
        name = self._config.get("name", self.folder.name)
        return Model(dit, vae, ModelConfig(name, self.class_names, self.size, self.schedule))

    @contextmanager
    def _valid(self, problem: str, remedy: str) -> Iterator[None]:
        """Turn the errors of malformed data into a BadRequest that names `config.json`."""
        try:
            yield
        except (TypeError, KeyError, AttributeError, ValueError) as error:  # a BadRequest is a ValueError
            reason = str(error).rstrip(".")
            raise BadRequest(f"{self.folder / CONFIG_FILE} {problem} ({reason}): {remedy}.") from error


def save_model(model: "Model", folder: Path, extra: dict[str, Any] | None = None) -> None:
    """Write a model folder. `extra` are more entries for `config.json`, which is written last.

    A DiT in float32 is saved as float16 safetensors, a network that techniques have changed as a pickle of its modules.
    Raises BadRequest for a model without an autoencoder, or with modules that cannot be saved.
    """
    from dit_core.models import checkpoints, serialization

    if model.vae is None:
        raise BadRequest(f"{model.config.name} has no autoencoder: it can be timed, but not saved.")
    folder.mkdir(parents=True, exist_ok=True)
    if plain := serialization.is_plain(model.dit):
        state = {key: value.detach().half().contiguous() for key, value in model.dit.state_dict().items()}
        checkpoints.write_safetensors(state, folder / DIT_FILE)
    else:
        serialization.write_network(model.dit, folder / NETWORK_FILE)
    write_autoencoder(model, folder)
    files = {file: checkpoints.sha256(folder / file) for file in (DIT_FILE if plain else NETWORK_FILE, VAE_FILE)}
    config = {
        **asdict(model.config),
        "dit": asdict(getattr(model.dit, "config", model.config.dit)),
        "classes": list(model.config.classes),
        "files": files,
        **({} if plain else {"outline": structure_of(model.dit).to_dict()}),
        **(extra or {}),
    }
    write_text(json.dumps(config, indent=1) + "\n", folder / CONFIG_FILE)


def write_autoencoder(model: "Model", folder: Path) -> None:
    """Write the autoencoder of a model into `vae/` in float16."""
    from dit_core.models.formats.export import without_path

    without_path(model.vae).half().save_pretrained(folder / VAE_FOLDER, safe_serialization=True)


@lru_cache(maxsize=128)
def cached(kind: type[Folder], name: str, folder: Path, state: tuple[int, int, int]) -> Folder:
    """Return the source of a folder, read once for each `state` of its `config.json`."""
    return kind(name, folder)


@lru_cache(maxsize=64)
def _check_shapes(path: Path, state: FileState | None, size: DiTConfig) -> None:
    """Raise BadRequest if a file does not hold the weights of a DiT of this size."""
    content = headers.read_headers(path)
    shapes = {name: header.shape for name, header in content.items() if isinstance(header, headers.Header)}
    check_keys(shapes, size, str(path))


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        missing = [key for key in REQUIRED if key not in config]
    except OSError as error:
        raise BadRequest(causes.not_read(path, error)) from error
    except (ValueError, TypeError, RecursionError) as error:
        raise BadRequest(f"{path} is not valid JSON: restore it.") from error
    if missing:
        raise BadRequest(f"{path} lacks {missing[0]!r}: restore it.")
    return config
