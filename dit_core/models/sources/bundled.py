"""The models that are part of the project, with their reference images, training images and recovered weights."""

import hashlib
import json
from pathlib import Path

from dit_core.data.images import EMOJI
from dit_core.models.sources import folder
from dit_core.models.sources.base import file_state

WEIGHTS = Path(__file__).parents[1] / "weights"
RECOVERED = "recovered"


class Bundled(folder.Folder):
    """A model folder of the project, by its name."""

    path_of = ""
    bundled = True

    @classmethod
    def find(cls, name: str) -> "folder.Folder | None":
        if not name or Path(name).name != name:
            return None
        state = file_state(WEIGHTS / name / folder.CONFIG_FILE)
        return folder.cached(cls, name, WEIGHTS / name, state) if state else None

    @classmethod
    def names(cls) -> list[str]:
        return sorted(path.parent.name for path in WEIGHTS.glob(f"*/{folder.CONFIG_FILE}"))

    @property
    def digest(self) -> str:
        """Hash of the weights only: bundled records and recovered weights name it."""
        return hashlib.sha256(json.dumps(self._config["files"], sort_keys=True).encode()).hexdigest()[:12]

    @property
    def reference_images(self) -> str:
        return self._config.get("images", EMOJI)

    @property
    def training_images(self) -> str:
        return self._config.get("images", EMOJI)

    @property
    def recovered_folder(self) -> Path:
        return self.folder / RECOVERED
