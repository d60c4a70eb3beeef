"""The DiT checkpoints of the original release (Peebles and Xie, arXiv 2212.09748), downloaded at the first load."""

import os
from dataclasses import replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dit_core.models.formats import normal
from dit_core.models.formats.size import parameters
from dit_core.models.presets import PIXELS_PER_LATENT, PRESETS
from dit_core.models.schedule import ScheduleConfig
from dit_core.models.sources import autoencoders, options
from dit_core.models.sources.base import FileState, file_state
from dit_core.models.sources.weights import Read, Weights
from dit_core.system import causes
from dit_core.system.files import check_space, user_path

if TYPE_CHECKING:
    from dit_core.models.model import Model

RELEASE = "https://dl.fbaipublicfiles.com/DiT/models"
FILES = {"DiT-XL/2-256": "DiT-XL-2-256x256.pt", "DiT-XL/2-512": "DiT-XL-2-512x512.pt"}
BYTES_PER_PARAMETER = 4


class Published(Weights):
    """A published DiT, trained on ImageNet, by the name of its preset and its resolution."""

    needs_download = True

    def __init__(self, name: str, path: Path) -> None:
        super().__init__(name, path)
        preset, _, pixels = name.rpartition("-")
        self.published_size = replace(PRESETS[preset], input_size=int(pixels) // PIXELS_PER_LATENT)

    @classmethod
    def find(cls, name: str) -> "Published | None":
        if name not in FILES:
            return None
        path = torch_hub_folder() / "checkpoints" / FILES[name]
        return _published(name, path, file_state(path))

    @classmethod
    def names(cls) -> list[str]:
        return list(FILES)

    def stated_options(self, content: Any) -> dict[str, Any]:
        schedule = ScheduleConfig()
        return {
            "heads": self.published_size.num_heads,
            "prediction": schedule.prediction,
            "beta_schedule": schedule.beta_schedule,
            "autoencoder": autoencoders.DEFAULT,
            "classes": options.imagenet_names(),
            "null_label": True,
        }

    @property
    def needs(self) -> tuple[str, ...]:
        missing = () if self.path.is_file() else (f"a download of {causes.size(self._bytes)}",)
        return (*missing, *super().needs)

    def load(self) -> "Model":
        if not self.path.is_file():
            self._download()
            self.__dict__.pop("_read", None)
        return super().load()

    @cached_property
    def _read(self) -> Read:
        if self.path.is_file():
            return super()._read
        return Read(self.published_size, normal.Weights({}, "", False, False), self.stated_options({}), (), False)

    @property
    def _bytes(self) -> int:
        return BYTES_PER_PARAMETER * parameters(self.published_size)

    def _download(self) -> None:
        import torch

        check_space(self.path, self._bytes, "The download", "set TORCH_HOME")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(f"{RELEASE}/{self.path.name}", str(self.path), progress=False)
        except Exception as error:
            raise autoencoders.not_downloaded(error, self.path.name, "TORCH_HOME") from error


@lru_cache(maxsize=8)
def _published(name: str, path: Path, state: FileState | None) -> Published:
    return Published(name, path)


def torch_hub_folder() -> Path:
    """Return the folder that `torch.hub.get_dir` returns, without importing torch."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return user_path(os.environ.get("TORCH_HOME") or f"{cache}/torch") / "hub"
