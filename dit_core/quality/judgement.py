"""Whether images of a model can be judged, and against what. Known before a run; imports no torch."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

from dit_core.data.images import SETS
from dit_core.data.own_images import SAMPLE_FILE, SAMPLES, OwnImages, arrays_of, file_digest, open_images
from dit_core.errors import BadRequest
from dit_core.models.presets import PIXELS_PER_LATENT
from dit_core.models.sources import Missing, ModelSource
from dit_core.system.files import named_path, user_path

FID_REFERENCE = "DIT_FID_REFERENCE"  # variable: a reference file of guided-diffusion
INCEPTION = "DIT_INCEPTION"  # variable: the weights' file, `download` or `off`
INCEPTION_HASH = "6726825d"  # first digits of the SHA-256 of the weights
INCEPTION_FILES = (  # the latter: pytorch-fid
    f"weights-inception-2015-12-05-{INCEPTION_HASH}.pth",
    f"pt_inception-2015-12-05-{INCEPTION_HASH}.pth",
)
GET_INCEPTION = "run `python -m dit_core inception`"
FEWEST = 10  # images of a reference


class Unavailable(BadRequest):
    """A figure cannot be computed; the message is the reason that a record keeps."""


@dataclass(frozen=True)
class OwnReference:
    """A reference that a person names: images, Inception's statistics of images, or both in one npz file."""

    path: Path
    images: OwnImages | None
    has_statistics: bool

    @property
    def digest(self) -> str:
        """Hash of the content, 12 letters."""
        return self.images.digest if self.images else file_digest(self.path)

    def check(self, side: int | None = None) -> None:
        """Raise BadRequest if the images cannot be read, are too few, or are not `side` by `side` pixels."""
        if self.images is None:
            return
        self.images.check(side)
        if len(self.images) < FEWEST:
            raise BadRequest(f"{self.path} has {len(self.images)} images: a reference needs {FEWEST} or more.")


def own_reference(name: str) -> OwnReference:
    """Return the reference at a path. Raises BadRequest if there is none."""
    path = named_path(name)
    if path.is_file() and path.suffix == SAMPLE_FILE:
        arrays = arrays_of(path)
        has_statistics = {"mu", "sigma"} <= set(arrays)
        if has_statistics and SAMPLES not in arrays:
            return OwnReference(path, None, has_statistics)
        return OwnReference(path, open_images(path), has_statistics)
    if not path.is_dir():
        raise BadRequest(
            f"{name} is no reference: name a folder of images, or an npz file with {SAMPLES} or with mu and sigma."
        )
    return OwnReference(path, open_images(path), False)


def check_reference(source: ModelSource, reference: str, samples: int) -> None:
    """Raise BadRequest, with what to do, if `samples` images of a model cannot be judged against a reference."""
    own = own_reference(reference) if reference and reference not in SETS else None
    if own:
        own.check(image_side(source))
    elif reference and (side := image_side(source)) not in (None, SETS[reference].side):
        raise BadRequest(
            f"The images of {reference} have {SETS[reference].side} pixels along a side, and those of {source.name} "
            f"{side}: name another reference."
        )
    if samples and (problem := unjudged(source, reference)):
        raise BadRequest(f"{problem}: set reference to a folder of images or an npz file, or samples to 0.")


def unjudged(source: ModelSource, reference: str = "") -> str:
    """Return why no quality metric of a model's images can be computed, as a clause; empty if one can."""
    if reference and reference not in SETS:
        own = own_reference(reference)
        if own.images is None and (problem := inception_problem()):
            return f"{reference} has only statistics for FID, and {problem}"
        return ""
    missing = source.reference_images
    if not isinstance(missing, Missing) or reference:
        return ""
    return "" if os.environ.get(FID_REFERENCE) and not inception_problem() else f"{missing.reason} to judge against"


def reference_digest(reference: str) -> str:
    """Return the hash of the content of a named reference, 12 letters. Raises BadRequest if there is none."""
    return SETS[reference].sha256[:12] if reference in SETS else own_reference(reference).digest


def own_choice(source: ModelSource, reference: str) -> str:
    """Return the reference as a spec has it: empty if it is the model's own."""
    return "" if reference == source.reference_images else reference


def image_side(source: ModelSource) -> int | None:
    """Return the side of a model's images in pixels; None if the weights must be loaded first."""
    if source.size is None or source.autoencoder is None:
        return None
    try:
        blocks = json.loads(Path(source.autoencoder, "config.json").read_text())["block_out_channels"]
        factor = 2 ** (len(blocks) - 1)
    except (OSError, ValueError, KeyError, TypeError):  # an autoencoder of the hub
        factor = PIXELS_PER_LATENT
    return source.size.input_size * factor


def inception_problem() -> str:
    """Return why FID cannot be computed, and what to do, as a clause; empty if it can."""
    try:
        if inception_path() is None and os.environ.get(INCEPTION) != "download":
            return f"Inception's weights are not on this machine ({GET_INCEPTION})"
    except BadRequest as error:
        return str(error).rstrip(".")
    return ""


def inception_path() -> Path | None:
    """Return the file of Inception's weights: the one that DIT_INCEPTION names, or the one in torch hub's cache.

    None if there is no file. Raises Unavailable if FID is off, BadRequest if DIT_INCEPTION names something else.
    """
    setting = os.environ.get(INCEPTION, "")
    if setting == "off":
        raise Unavailable(f"FID is off ({INCEPTION}=off)")
    if setting not in ("", "download"):
        if not (path := named_path(setting)).is_file():
            raise BadRequest(f"{INCEPTION} names {setting}, which is no file: name the weights, download or off.")
        return path
    return next((path for name in INCEPTION_FILES if (path := hub_folder() / name).is_file()), None)


def hub_folder() -> Path:
    """Return the folder of weights in torch hub's cache, as torch itself finds it."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "torch")
    return user_path(os.environ.get("TORCH_HOME") or cache) / "hub" / "checkpoints"
