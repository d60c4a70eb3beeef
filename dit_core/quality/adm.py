"""The files of guided-diffusion's evaluator (arXiv 2105.05233), so that its figures and ours can be compared.

A reference file holds `mu` and `sigma` of Inception's pooled features, `mu_s` and `sigma_s` of its spatial ones. A
sample file holds images as `arr_0`, uint8 (N, H, W, 3), and their labels as `arr_1`.
"""

import hashlib
import io
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO

import numpy as np
import torch
from torch import Tensor

from dit_core.errors import BadRequest
from dit_core.quality.frechet import Reference, Statistics
from dit_core.system import causes


def read_reference(path: Path) -> Reference:
    """Read a reference file; its statistics have a count of 0, because the file does not hold it.

    Raises BadRequest if the file has no statistics or they are not finite.
    """
    arrays = _read(path, ("mu", "sigma", "mu_s", "sigma_s"))  # the file may also hold images, which are gigabytes
    if not {"mu", "sigma"} <= set(arrays):
        raise BadRequest(f"{path} has no mu and sigma: name a reference file of guided-diffusion.")
    spatial = _statistics(path, arrays["mu_s"], arrays["sigma_s"]) if {"mu_s", "sigma_s"} <= set(arrays) else None
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()[:8]
    return Reference(_statistics(path, arrays["mu"], arrays["sigma"]), spatial, digest)


def reference_bytes(pooled: Statistics, spatial: Statistics) -> bytes:
    """Return the content of a reference file with these statistics."""
    buffer = io.BytesIO()
    np.savez(
        buffer,
        mu=pooled.mean.numpy(),
        sigma=pooled.covariance.numpy(),
        mu_s=spatial.mean.numpy(),
        sigma_s=spatial.covariance.numpy(),
    )
    return buffer.getvalue()


def write_samples(stream: IO[bytes], images: Iterable[Tensor], labels: Sequence[int], side: int) -> None:
    """Write a sample file of as many images as labels, which come as (n, 3, side, side) uint8 batches.

    One batch is in memory at a time. Raises ValueError if there are more or fewer images than labels.
    """
    written = 0
    with zipfile.ZipFile(stream, "w") as archive:
        with archive.open("arr_0.npy", "w", force_zip64=True) as file:
            shape = (len(labels), side, side, 3)
            header = {"descr": np.lib.format.dtype_to_descr(np.dtype(np.uint8)), "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            for batch in images:
                file.write(batch.permute(0, 2, 3, 1).contiguous().numpy().tobytes())
                written += len(batch)
        with archive.open("arr_1.npy", "w") as file:
            np.lib.format.write_array(file, np.asarray(labels))
    if written != len(labels):
        raise ValueError(f"{written} images for {len(labels)} labels")


def samples_bytes(images: Tensor, labels: list[int]) -> bytes:
    """Return the content of a sample file with (N, 3, H, W) uint8 images and their labels."""
    buffer = io.BytesIO()
    write_samples(buffer, [images], labels, images.shape[-1])
    return buffer.getvalue()


def read_samples(path: Path) -> Tensor:
    """Read the (N, 3, H, W) uint8 images of a sample file. Raises BadRequest if it has none."""
    images = _read(path, ("arr_0",)).get("arr_0")
    if images is None or images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3 or not images.size:
        raise BadRequest(f"{path} has no arr_0 of uint8 images (N, H, W, 3): write it with `generate --npz`.")
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()


def _statistics(path: Path, mean: np.ndarray, covariance: np.ndarray) -> Statistics:
    try:
        mean, covariance = np.asarray(mean, np.float64), np.asarray(covariance, np.float64)
    except ValueError as error:
        raise BadRequest(f"{path} holds statistics that are not numbers: download it again.") from error
    if mean.ndim != 1 or covariance.shape != (len(mean), len(mean)):
        raise BadRequest(f"{path} has a mean {mean.shape} and a covariance {covariance.shape} that do not fit.")
    if not np.isfinite(mean).all() or not np.isfinite(covariance).all():
        raise BadRequest(f"{path} holds numbers that are not finite: download it again.")
    return Statistics(torch.from_numpy(mean), torch.from_numpy(covariance), 0)


def _read(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Read those of the named arrays that an npz file has. Raises BadRequest if it holds pickled code or is broken."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in names if name in file.files}
    except OSError as error:
        raise BadRequest(causes.not_read(path, error)) from error
    except Exception as error:  # a damaged file can make the parsers raise any
        raise BadRequest(f"{path} cannot be read as an npz file: {error}") from error
