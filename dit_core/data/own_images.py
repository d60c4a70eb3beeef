"""Images that a person brings: a folder of images, or a sample file of guided-diffusion's evaluator.

Files are read in batches, so that memory does not grow with their number. Imports no torch.
"""

import hashlib
import math
import os
import time
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO

import numpy as np

from dit_core.errors import BadRequest
from dit_core.system import causes
from dit_core.system.files import named_path

SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")  # as in torchvision's folders
SAMPLES, SAMPLE_FILE = "arr_0", ".npz"
BATCH = 64
NAMED = 3  # files that a message names
LISTED_FOR_S = 2.0  # a folder is listed again after this time
BROKEN = Exception  # a damaged file can make a parser raise any


class OwnImages(ABC):
    """RGB images at a path. `len` is their number."""

    path: Path

    @abstractmethod
    def __len__(self) -> int: ...

    @property
    @abstractmethod
    def digest(self) -> str:
        """Hash of the content, 12 letters. It does not depend on where the files are."""

    @abstractmethod
    def check(self, side: int | None = None) -> None:
        """Raise BadRequest if images cannot be read, or are not `side` by `side` pixels. Reads headers only."""

    @abstractmethod
    def batches(self, size: int = BATCH) -> Iterator[np.ndarray]:
        """Yield all images as uint8 (n, H, W, 3), n at most `size`. Raises BadRequest for images that are damaged."""


@dataclass(frozen=True)
class ImageFolder(OwnImages):
    """All images below a folder, sorted by their path. Names that begin with a dot do not count."""

    path: Path
    files: tuple[Path, ...]

    def __len__(self) -> int:
        return len(self.files)

    @property
    def digest(self) -> str:
        return folder_digest(self.path, self.files, file_state(self.files))

    def check(self, side: int | None = None) -> None:
        sizes = _sizes(self.files, file_state(self.files))
        unreadable = [file for file, size in zip(self.files, sizes, strict=True) if size is None]
        if unreadable:
            raise BadRequest(f"{self._some(unreadable)} cannot be read as images: repair or remove them.")
        other = [i for i, size in enumerate(sizes) if side and size != (side, side)]
        if other:
            width, height = sizes[other[0]] or (0, 0)
            raise BadRequest(
                f"{self._some([self.files[i] for i in other])} are not {side} x {side} pixels as the model's images "
                f"({self.files[other[0]].name}: {width} x {height}): resize them."
            )

    def batches(self, size: int = BATCH) -> Iterator[np.ndarray]:
        for part in self.decoded(list(range(len(self))), size):
            yield np.stack(part)

    def decoded(
        self, indices: Sequence[int], size: int = BATCH, crop: Callable[..., np.ndarray] | None = None
    ) -> Iterator[list[np.ndarray]]:
        """Yield batches of the images with these indices, each uint8 (H, W, 3).

        `crop` maps a PIL image to an array. Raises BadRequest at the end, which names all images that are damaged.
        """
        from PIL import Image

        damaged: list[Path] = []
        for start in range(0, len(indices), size):
            batch = []
            for index in indices[start : start + size]:
                try:
                    with Image.open(self.files[index]) as image:
                        rgb = image.convert("RGB")
                    batch.append(crop(rgb) if crop else np.asarray(rgb))
                except BROKEN:
                    damaged.append(self.files[index])
            if batch and not damaged:
                yield batch
        if damaged:
            raise BadRequest(f"{self._some(damaged)} are damaged: repair or remove them.")

    def _some(self, files: Sequence[Path]) -> str:
        """Count some of the files and name the first ones: `2 of 9 files in photos (a.png, b.png)`."""
        names = ", ".join(file.relative_to(self.path).as_posix() for file in files[:NAMED])
        more = ", ..." if len(files) > NAMED else ""
        return f"{len(files)} of {len(self)} files in {self.path} ({names}{more})"


@dataclass(frozen=True)
class SampleFile(OwnImages):
    """The images `arr_0` of an npz file: uint8 (N, H, W, 3)."""

    path: Path
    shape: tuple[int, int, int, int]

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def digest(self) -> str:
        return file_digest(self.path)

    def check(self, side: int | None = None) -> None:
        _, height, width, _ = self.shape
        if side and (height, width) != (side, side):
            raise BadRequest(
                f"{self.path} has images of {width} x {height} pixels, and the model's have {side} x {side}: name a "
                "file with images of this size."
            )

    def batches(self, size: int = BATCH) -> Iterator[np.ndarray]:
        try:
            with zipfile.ZipFile(self.path) as file, file.open(f"{SAMPLES}.npy") as stream:
                count, *shape = _array_header(stream)[0]
                for start in range(0, count, size):
                    n = min(size, count - start)
                    content = stream.read(n * math.prod(shape))
                    yield np.frombuffer(content, np.uint8).reshape(n, *shape)
        except BROKEN as error:
            raise BadRequest(f"{self.path} is damaged: copy it again ({error}).") from error


def open_images(path: Path) -> OwnImages:
    """Return the images at a path. Raises BadRequest if there are none."""
    path = named_path(path)
    if path.is_dir():
        return open_folder(path)
    if path.suffix == SAMPLE_FILE and path.is_file():
        return SampleFile(path, _sample_shape(path))
    raise BadRequest(f"{path} is neither a folder of images nor an npz file with {SAMPLES}: name one of them.")


def open_folder(path: Path) -> ImageFolder:
    """Return the images below a folder. Raises BadRequest if there are none."""
    files = _listed(path, int(time.monotonic() / LISTED_FOR_S))
    if not files:
        raise BadRequest(f"{path} has no images: name a folder with files of {', '.join(SUFFIXES)}.")
    return ImageFolder(path, files)


def arrays_of(path: Path) -> tuple[str, ...]:
    """Return the names of the arrays of an npz file. Raises BadRequest if it is none."""
    try:
        with zipfile.ZipFile(path) as file:
            return tuple(name.removesuffix(".npy") for name in file.namelist())
    except BROKEN as error:
        raise BadRequest(f"{path} cannot be read as an npz file: {error}") from error


def file_digest(path: Path) -> str:
    """Return the hash of a file's content, 12 letters. It is computed again if the file changes."""
    return _file_digest(path, file_state((path,)))


@lru_cache(maxsize=8)
def _listed(path: Path, period: int) -> tuple[Path, ...]:
    """Return the images below a folder. `period` ends the validity of a cached answer."""
    found = []
    for parent, folders, names in os.walk(path):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [Path(parent, name) for name in names if name.lower().endswith(SUFFIXES) and not name.startswith(".")]
    return tuple(sorted(found))


def file_state(files: tuple[Path, ...]) -> int:
    """Return a number that changes if one of the files does."""
    return _stated(files, int(time.monotonic() / LISTED_FOR_S)) if len(files) > 1 else _stated.__wrapped__(files, 0)


@lru_cache(maxsize=8)
def _stated(files: tuple[Path, ...], period: int) -> int:
    states = []
    for file in files:
        try:
            status = file.stat()
        except OSError as error:
            raise BadRequest(causes.not_read(file, error)) from error
        states.append((status.st_mtime_ns, status.st_size, status.st_ino))
    return hash(tuple(states))


@lru_cache(maxsize=8)
def _sizes(files: tuple[Path, ...], state: int) -> tuple[tuple[int, int] | None, ...]:
    """Return width and height of each image; None if its header cannot be read."""
    from PIL import Image

    sizes: list[tuple[int, int] | None] = []
    for file in files:
        try:
            with Image.open(file) as image:
                sizes.append(image.size)
        except BROKEN:
            sizes.append(None)
    return tuple(sizes)


@lru_cache(maxsize=32)
def folder_digest(path: Path, files: tuple[Path, ...], state: int) -> str:
    """Hash each file's place below the folder and its content: places name the classes."""
    whole = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            content = hashlib.file_digest(stream, "sha256").digest()
        whole.update(file.relative_to(path).as_posix().encode() + b"\0" + content)
    return whole.hexdigest()[:12]


@lru_cache(maxsize=32)
def _file_digest(path: Path, state: int) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:12]


def _sample_shape(path: Path) -> tuple[int, int, int, int]:
    problem = f"{path} has no {SAMPLES} of uint8 images (N, H, W, 3): write it with `generate --npz`."
    if SAMPLES not in arrays_of(path):
        raise BadRequest(problem)
    try:
        with zipfile.ZipFile(path) as file, file.open(f"{SAMPLES}.npy") as stream:
            shape, by_column, kind = _array_header(stream)
    except BROKEN as error:
        raise BadRequest(f"{path} cannot be read as an npz file: {error}") from error
    if kind != np.uint8 or by_column or len(shape) != 4 or shape[3] != 3 or not math.prod(shape):
        raise BadRequest(problem)
    return shape[0], shape[1], shape[2], 3


def _array_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Return shape, whether columns come first, and type of an npy file; the stream is then at its values."""
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    version = np.lib.format.read_magic(stream)
    if version not in read:
        raise ValueError(f"version {version} of the npy format")
    return read[version](stream)
