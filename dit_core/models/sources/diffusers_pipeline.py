"""A DiT in diffusers' format: the folder of a `DiTPipeline` or of its transformer, or a name on Hugging Face."""

import json
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

from dit_core.errors import BadRequest
from dit_core.models.formats import MADE_FROM, RECORDED, headers
from dit_core.models.schedule import BETAS
from dit_core.models.sources import autoencoders, options
from dit_core.models.sources.base import FileState, file_state
from dit_core.models.sources.weights import Weights
from dit_core.system.files import user_path

PIPELINE_FILE, CONFIG_FILE, SCHEDULER_FILE = "model_index.json", "config.json", "scheduler_config.json"
PARTS = ("transformer", "vae", "scheduler")
TRANSFORMERS = ("DiTTransformer2DModel", "Transformer2DModel")
HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
# What a DiT has, in the words of diffusers; other values are other networks.
REQUIRED = {
    "norm_type": "ada_norm_zero",
    "activation_fn": "gelu-approximate",
    "attention_bias": True,
    "norm_elementwise_affine": False,
}
LINEAR = {"beta_start": 1e-4, "beta_end": 0.02}


class DiffusersPipeline(Weights):
    """A folder that diffusers wrote, by its path or by its name on Hugging Face."""

    path_of = "a diffusers folder"

    def __init__(self, name: str, folder: Path) -> None:
        """Read the configurations. Raises BadRequest if they describe another network than a DiT."""
        is_pipeline = (folder / PIPELINE_FILE).is_file()
        super().__init__(name, folder / PARTS[0] if is_pipeline else folder)
        self.folder = folder
        self._told = _told_by_transformer(_json(self.path / CONFIG_FILE), name)
        if is_pipeline:
            self._told |= _told_by_pipeline(folder, name)

    @classmethod
    def find(cls, name: str) -> "DiffusersPipeline | None":
        folder = user_path(name)
        try:
            if not folder.is_dir():
                folder = _downloaded(name)
        except (OSError, ValueError):  # no file can have this name
            return None
        return _pipeline(name, folder, _states(folder)) if folder and _is_transformer(folder) else None

    @classmethod
    def download(cls, name: str) -> bool:
        if not HUB_NAME.fullmatch(name):
            return False
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import RepositoryNotFoundError

        try:
            snapshot_download(name, allow_patterns=[PIPELINE_FILE, *(f"{part}/*" for part in PARTS)])
        except RepositoryNotFoundError as error:
            raise BadRequest(f"Hugging Face has no model {name}, or you may not read it: check the name.") from error
        except Exception as error:
            raise autoencoders.not_downloaded(error, name, "HF_HOME") from error
        return True

    def stated_options(self, content: Any) -> dict[str, Any]:
        return self._told

    @property
    def portable_name(self) -> str:
        return self.name if self.is_kept or _is_hub_name(self.name) else self.folder.resolve().name


@lru_cache(maxsize=32)
def _pipeline(name: str, folder: Path, states: tuple[FileState | None, ...]) -> DiffusersPipeline:
    """Return the source of a folder, read once for each state of its files."""
    return DiffusersPipeline(name, folder)


def _states(folder: Path) -> tuple[FileState | None, ...]:
    files = [PIPELINE_FILE, CONFIG_FILE, f"{PARTS[0]}/{CONFIG_FILE}", f"scheduler/{SCHEDULER_FILE}"]
    weights = folder / PARTS[0] if (folder / PARTS[0]).is_dir() else folder
    return tuple(map(file_state, [*(folder / file for file in files), *headers.files_of(weights)]))


def _is_transformer(folder: Path) -> bool:
    """Return whether a folder holds a pipeline with a DiT, or the transformer of one."""
    if (folder / PIPELINE_FILE).is_file():
        return True
    config = folder / CONFIG_FILE
    return config.is_file() and "_class_name" in _json(config)


def _is_hub_name(name: str) -> bool:
    return bool(HUB_NAME.fullmatch(name)) and not user_path(name).exists()


def _downloaded(name: str) -> Path | None:
    """Return the folder of a name on Hugging Face that was downloaded before."""
    if not _is_hub_name(name):
        return None
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        file = try_to_load_from_cache(name, PIPELINE_FILE)
    except HFValidationError:
        return None
    return Path(file).parent if isinstance(file, str) else None


def _told_by_transformer(config: dict[str, Any], name: str) -> dict[str, Any]:
    kind = config.get("_class_name")
    if kind not in TRANSFORMERS:
        raise BadRequest(f"{name} is a {kind}, not a DiT: use a folder with a {TRANSFORMERS[0]}.")
    for key, value in REQUIRED.items():
        if config.get(key, value) != value:
            raise BadRequest(f"{name} is another network than a DiT: its {key} is {config[key]}, expected {value}.")
    try:
        classes, heads = int(config["num_embeds_ada_norm"]), int(config["num_attention_heads"])
        size = int(config["sample_size"])
    except (KeyError, TypeError, ValueError) as error:
        raise BadRequest(f"{name} has an incomplete {CONFIG_FILE} ({error}): restore it.") from error
    return {"heads": heads, "num_classes": classes, "input_size": size}


def _told_by_pipeline(folder: Path, name: str) -> dict[str, Any]:
    index, stated = _json(folder / PIPELINE_FILE), {}
    if isinstance(made_from := index.get(f"_{RECORDED}_{MADE_FROM}"), str):
        stated[MADE_FROM] = made_from
    if labels := index.get("id2label"):
        stated["classes"] = options.names_of(labels, PIPELINE_FILE)
    if (folder / PARTS[1]).is_dir():
        stated["autoencoder"] = str((folder / PARTS[1]).resolve())
    scheduler = folder / PARTS[2] / SCHEDULER_FILE
    return stated | (_stated_by_scheduler(_json(scheduler), name) if scheduler.is_file() else {})


def _stated_by_scheduler(config: dict[str, Any], name: str) -> dict[str, Any]:
    schedule = config.get("beta_schedule")
    other_range = schedule == "linear" and any(config.get(key, value) != value for key, value in LINEAR.items())
    other_steps = config.get("trained_betas") or config.get("num_train_timesteps", 1000) != 1000
    if schedule not in BETAS or other_range or other_steps:
        supported = (
            f"{' and '.join(BETAS)} over 1,000 steps, linear from {LINEAR['beta_start']} to {LINEAR['beta_end']}"
        )
        raise BadRequest(f"{name} has a noise schedule ({schedule}) that is not supported: only {supported}.")
    return {"beta_schedule": schedule, "prediction": config.get("prediction_type", "epsilon")}


def _json(path: Path) -> dict[str, Any]:
    with headers.readable(path, "is not valid JSON"):
        content = json.loads(path.read_text())
        if not isinstance(content, dict):
            raise ValueError("no object")
    return content
