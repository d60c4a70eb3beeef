"""A person's own training images: class folders, or the feature folders of fast-DiT's `extract_features.py`.

photos/cat/1.jpg                       class folders, as torchvision's ImageFolder reads them
imagenet256_features/0.npy             latents (1, C, h, w) of one image, scaled as for training
imagenet256_labels/0.npy               its label (1,)

Of a large set a random draw is used, so that its latents fit into memory. Imports no torch.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from dit_core.data.own_images import BROKEN, NAMED, ImageFolder, file_state, folder_digest, open_folder
from dit_core.errors import BadRequest
from dit_core.system.files import named_path

FEATURES, LABELS = "_features", "_labels"  # ends of the names of fast-DiT's folders
MOST_BYTES = 2**29  # of latents, mean and standard deviation in float32
BATCH = 16  # images that are decoded together


@dataclass(frozen=True)
class TrainingImages:
    """A draw of images or latents with their labels, each an index into the model's classes.

    `latents` says that the files hold latents. `count` is the number of all images that the draw was made from.
    """

    path: Path
    files: tuple[Path, ...]
    labels: tuple[int, ...]
    latents: bool
    count: int

    def __len__(self) -> int:
        return len(self.files)

    @property
    def digest(self) -> str:
        """Hash of the names and the content of the drawn files, 12 letters."""
        return folder_digest(self.path, self.files, file_state(self.files))

    def images(self, side: int) -> Iterator[np.ndarray]:
        """Yield batches of images, scaled and cropped around the centre to uint8 (n, side, side, 3).

        Raises BadRequest for images that are damaged.
        """
        from PIL import Image, ImageOps

        def crop(image: Image.Image) -> np.ndarray:
            return np.asarray(ImageOps.fit(image, (side, side), Image.Resampling.BICUBIC))

        for batch in ImageFolder(self.path, self.files).decoded(range(len(self)), BATCH, crop):
            yield np.stack(batch)

    def features(self, shape: tuple[int, int, int]) -> np.ndarray:
        """Return the latents (N, C, h, w), float32. Raises BadRequest for files that have no latents of `shape`."""
        values, damaged = np.zeros((len(self), *shape), np.float32), []
        for index, file in enumerate(self.files):
            try:
                values[index] = np.load(file, allow_pickle=False).reshape(shape)
            except BROKEN:
                damaged.append(file)
            else:
                if not np.isfinite(values[index]).all():
                    damaged.append(file)
        if damaged:
            raise BadRequest(
                f"{len(damaged)} of {len(self)} files in {damaged[0].parent} do not hold finite latents of "
                f"{' x '.join(map(str, shape))} ({', '.join(file.name for file in damaged[:NAMED])}): extract the "
                "features again."
            )
        return values


def training_images(
    name: str, classes: Sequence[str] | None, shape: tuple[int, int, int] | None, most: int | None = None
) -> TrainingImages:
    """Return the training images at a path for a model with these classes and latents of `shape` (C, h, w).

    At most `most` images are drawn, and no more than MOST_BYTES of latents. Raises BadRequest if there are none, or if
    classes or latents do not fit. Classes and shape are None if they are not known yet.
    """
    path = named_path(name)
    if not path.is_dir():
        raise BadRequest(f"{name} is no folder: name class folders, or the folder with fast-DiT's features and labels.")
    fitting = MOST_BYTES // (8 * int(np.prod(shape))) if shape else None
    limit = min((n for n in (most, fitting) if n is not None), default=None)
    feature_folders = sorted(folder for folder in path.glob(f"*{FEATURES}") if folder.is_dir())
    if feature_folders:
        return _feature_folders(path, feature_folders[0], classes, shape, limit)
    return _class_folders(path, classes, limit)


def _class_folders(path: Path, classes: Sequence[str] | None, limit: int | None) -> TrainingImages:
    files = open_folder(path).files
    folders = [file.relative_to(path).parts[0] for file in files]
    loose = [file.name for file in files if file.parent == path]
    if loose:
        raise BadRequest(f"{len(loose)} images in {path} are in no class folder ({loose[0]}): move them into one.")
    names = sorted(set(folders))
    label_of = {name: label for label, name in enumerate(names)}
    if classes is not None and set(names) <= set(classes):
        label_of = {name: list(classes).index(name) for name in names}
    elif classes is not None and len(names) != len(classes):
        unknown = next(name for name in names if name not in classes)
        raise BadRequest(
            f"{path} has {len(names)} class folders, and the model has {len(classes)} classes, none of them "
            f"{unknown!r}: name the folders after its classes, or give each class a folder, in the order of the labels."
        )
    chosen = _draw(len(files), limit)
    drawn = tuple(files[i] for i in chosen)
    ImageFolder(path, drawn).check()
    return TrainingImages(path, drawn, tuple(label_of[folders[i]] for i in chosen), False, len(files))


def _feature_folders(
    path: Path, folder: Path, classes: Sequence[str] | None, shape: tuple[int, int, int] | None, limit: int | None
) -> TrainingImages:
    labels_folder = folder.with_name(folder.name.removesuffix(FEATURES) + LABELS)
    names, label_names = (sorted(file.name for file in part.glob("*.npy")) for part in (folder, labels_folder))
    if not names:
        raise BadRequest(f"{folder} has no features (*.npy): name the folder that extract_features.py wrote.")
    if missing := sorted(set(names) - set(label_names)):
        raise BadRequest(
            f"{len(missing)} of {len(names)} features in {folder} have no label in {labels_folder.name} "
            f"({', '.join(missing[:NAMED])}): extract them again."
        )
    chosen = [names[i] for i in _draw(len(names), limit)]
    files = tuple(folder / name for name in chosen)
    label_files = tuple(labels_folder / name for name in chosen)
    labels = _labels(label_files, file_state(label_files))
    if classes is not None and not 0 <= min(labels) <= max(labels) < len(classes):
        raise BadRequest(
            f"{labels_folder} has labels from {min(labels)} to {max(labels)}, and the model has {len(classes)} "
            "classes: name features of its classes."
        )
    result = TrainingImages(path, files, labels, True, len(names))
    if shape:
        TrainingImages(path, files[:1], labels[:1], True, 1).features(shape)
    return result


def _draw(count: int, limit: int | None) -> list[int]:
    """Return the indices of a random draw of at most `limit`, in order."""
    if limit is None or count <= limit:
        return list(range(count))
    return sorted(np.random.default_rng(0).permutation(count)[:limit].tolist())


@lru_cache(maxsize=4)
def _labels(files: tuple[Path, ...], state: int) -> tuple[int, ...]:
    labels, damaged = [], []
    for file in files:
        try:
            labels.append(int(np.load(file, allow_pickle=False).item()))
        except BROKEN:
            damaged.append(file)
    if damaged:
        names = ", ".join(file.name for file in damaged[:NAMED])
        raise BadRequest(
            f"{len(damaged)} of {len(files)} files in {damaged[0].parent} hold no label ({names}): extract them again."
        )
    return tuple(labels)
