"""Read the tensors of a file of weights: only those that are used, and never through a map of the file into memory.

A mapped file that somebody overwrites would end the process.
"""

import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dit_core.errors import BadRequest
from dit_core.models.formats import headers
from dit_core.models.formats.headers import Header
from dit_core.models.formats.normal import Weights

_NUMPY_SCALAR = np.float64(0).__reduce__()[0]
DATA = [  # classes that `torch.load` may build: none of them runs code of the file
    *headers.DATA_CLASSES,
    (_NUMPY_SCALAR, "numpy.core.multiarray.scalar"),  # the name before numpy 2
    _NUMPY_SCALAR,
    np.dtype,
    *{type(np.dtype(kind)) for kind in "?bBhHiIlLqQefd"},
]


def read_values(path: Path) -> dict[str, Any]:
    """Return the content of a file, an index or a folder, in which `tensors` finds the values.

    Raises BadRequest if it cannot be read, holds code or is not a file of weights.
    """
    return headers.merged(path, _read)


def tensors(weights: Weights, path: Path) -> dict[str, Tensor]:
    """Return the tensors of weights from `read_values`. Raises BadRequest if their file is damaged."""
    with headers.readable(path):
        return weights.joined(
            lambda parts: torch.cat([_tensor(part) for part in parts]) if parts[1:] else _tensor(*parts)
        )


def _tensor(value: Header | Tensor) -> Tensor:
    if isinstance(value, Tensor):
        return value.detach()
    if value.dtype not in headers.DTYPES.values():
        raise BadRequest(
            "The checkpoint has weights of a type that is not supported: save them in float32 or bfloat16."
        )
    flat = torch.frombuffer(bytearray(value.content()), dtype=getattr(torch, value.dtype))
    if value.strides is None:
        return flat.view(value.shape)
    return flat.as_strided(value.shape, value.strides, value.offset)


def _read(path: Path) -> Any:
    if headers.format_of(path) != headers.LEGACY:
        return headers.read_headers(path)
    with headers.readable(path):
        try:
            with torch.serialization.safe_globals(DATA):
                return torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:
            name = re.search(r"GLOBAL ([\w.]+) was not an allowed", str(error))
            if name and not re.match(r"(torch|numpy)\.(?!nn\.)", name[1]):  # a class that torch itself lacks is damage
                raise headers.holds_more(path, name[1]) from error
            raise
