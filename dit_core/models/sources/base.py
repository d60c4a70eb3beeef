"""What the program asks about a model, whatever kind of model it is. Imports no torch."""

import copy
import stat
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from dit_core.errors import BadRequest
from dit_core.models.presets import DiTConfig
from dit_core.models.schedule import ScheduleConfig
from dit_core.models.sources.options import Options
from dit_core.models.structure import Structure

if TYPE_CHECKING:
    from dit_core.models.model import Model


FileState = tuple[int, int, int]
FILE, OPTION, ASSUMED = "file", "option", "assumed"


@dataclass(frozen=True)
class Fact:
    """What is known of a model, and whether its file tells it, an option does, or nothing does (`assumed`)."""

    name: str
    value: str
    origin: str = FILE

    def __str__(self) -> str:
        return f"{self.name} {self.value}" + (" (assumed)" if self.origin == ASSUMED else "")


@dataclass(frozen=True)
class Missing:
    """Why a model has no images for a purpose, as a clause: "mine.pt has no reference images"."""

    reason: str


class ModelSource(ABC):
    """A model by its name: facts that are known before anything is loaded, and the function that loads it.

    Each file of this folder defines one kind of source. The defaults describe a model with unknown class names, the
    published noise schedule and no images of its own.
    """

    path_of: ClassVar[str] = ""  # "a model folder" if names are paths of model folders; paths are tried after names
    bundled: ClassVar[bool] = False  # the weights are part of the project
    needs_download: ClassVar[bool] = False  # the first load needs the internet
    cost_only: ClassVar[bool] = False  # the images mean nothing: only time, memory and operations are measured

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_kept = False  # the name was given by `with_options`, and no part of it is a path

    @classmethod
    @abstractmethod
    def find(cls, name: str) -> "ModelSource | None":
        """Return the source with this name, or None if the name is not of this kind.

        Raises BadRequest if the name is of this kind and its parts or files are not valid.
        """

    @classmethod
    def names(cls) -> list[str]:
        """Return the names of this kind that can be listed."""
        return []

    @classmethod
    def download(cls, name: str) -> bool:
        """Download a model by its name on a public hub. False if this kind has no such names.

        Raises BadRequest if there is no such model, no network or no space.
        """
        return False

    def with_options(self, name: str, options: Options) -> Self:
        """Return this model under another name. Raises BadRequest if it cannot have one of the options."""
        if options != Options():
            raise BadRequest(f"{self.name} tells everything itself: leave out {', '.join(options.to_dict())}.")
        source = copy.copy(self)
        source.name, source.is_kept = name, True
        return source

    def verified(self) -> Self:
        """Return the model itself. Raises BadRequest if its files do not tell what it is, or contradict its options."""
        return self

    def check(self) -> None:  # noqa: B027 (most models are checked when they are found)
        """Raise BadRequest, before anything is loaded, if a part of the model is missing or does not fit."""

    @property
    def facts(self) -> tuple[Fact, ...]:
        """What a person should know before a run, above all what is only assumed."""
        return ()

    @property
    def description(self) -> str:
        """The facts on one line; empty if there are none."""
        return f"{self.name}: {'; '.join(map(str, self.facts))}." if self.facts else ""

    @property
    def needs(self) -> tuple[str, ...]:
        """What the model still needs, as phrases: "a download of 2.70 GB"; empty if it can be measured and judged."""
        return (
            () if isinstance(self.reference_images, str) or self.cost_only else ("reference images, to judge quality",)
        )

    @property
    @abstractmethod
    def size(self) -> DiTConfig | None:
        """Size of the network; None if the weights must be loaded first."""

    @property
    def structure(self) -> Structure | None:
        """Structure of the network; None if the weights must be loaded first."""
        return None if self.size is None else Structure.of(self.size)

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """Class names in label order; None if the weights must be loaded first."""
        return None if self.size is None else numbered_classes(self.size.num_classes)

    @property
    def null_label(self) -> int | None:
        """Label of the unconditional branch of guidance; None without one, or if the weights must be loaded first."""
        return self.size.num_classes if self.size is not None and self.size.null_label else None

    @property
    def schedule(self) -> ScheduleConfig:
        """Noise schedule and prediction type."""
        return ScheduleConfig()

    @property
    def autoencoder(self) -> str | None:
        """Folder or Hugging Face name of the autoencoder; None if the network is used without one."""
        return None

    @property
    def sampler(self) -> tuple[str, int] | None:
        """Scheduler and steps that the model was trained or exported for; None if it works with any."""
        return None

    @property
    def run_fields(self) -> dict[str, Any]:
        """Fields of a `RunSpec` that the model was trained or exported for; empty if it works with any."""
        return dict(zip(("scheduler", "steps"), self.sampler or (), strict=False))

    @property
    def reference_images(self) -> str | Missing:
        """Name of the image set (`dit_core.data`) that generated images are compared with."""
        return Missing(f"{self.name} has no reference images")

    @property
    def training_images(self) -> str | Missing:
        """Name of the image set (`dit_core.data`) that recovery and distillation train on."""
        return Missing(f"{self.name} has no training images")

    @property
    def export_problem(self) -> str | None:
        """Why the model cannot be exported, as a clause; None if it can."""
        return None

    @property
    @abstractmethod
    def digest(self) -> str | None:
        """Hash of all that determines the images, 12 letters; None before a download."""

    @property
    def network_sha256(self) -> str | None:
        """SHA-256 of the file with the network's weights, if the model states it."""
        return None

    @property
    def portable_name(self) -> str:
        """Name to write into files that other machines read: of a path, the last part."""
        return Path(self.name).resolve().name if self.path_of and not self.is_kept else self.name

    @property
    def origin(self) -> str:
        """Name of the bundled model that this model was exported from, else its portable name."""
        return self.portable_name

    @property
    def recovered_folder(self) -> Path | None:
        """Folder of the bundled recovered weights; None if the model cannot have any."""
        return None

    @abstractmethod
    def load(self) -> "Model":
        """Load the model in float32 on the CPU. Raises BadRequest if a file is missing, changed or not finite."""


def numbered_classes(count: int) -> tuple[str, ...]:
    """Return names for classes without known names: "class 0", "class 1", ..."""
    return tuple(f"class {i}" for i in range(count))


def file_state(path: Path) -> FileState | None:
    """Return a key that changes whenever a file is rewritten, or None if there is no such file."""
    try:
        status = path.stat()
    except (OSError, ValueError):  # ValueError: no file can have this name
        return None
    return (status.st_mtime_ns, status.st_size, status.st_ino) if stat.S_ISREG(status.st_mode) else None
