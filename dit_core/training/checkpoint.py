"""Small copies of unfinished trainings, to continue on another machine.

`python -m dit_core.training.checkpoint pack FOLDER COPY` and, there, `unpack COPY FOLDER`, then `train --out FOLDER`.
"""

import argparse
import io
import lzma
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dit_core.errors import BadRequest
from dit_core.system.files import write_bytes

CHECKPOINT, PACKED, LOG = "checkpoint.pt", "checkpoint.pt.xz", "log.csv"


def main() -> None:
    """Run `python -m dit_core.training.checkpoint`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("pack", "unpack"))
    parser.add_argument("source", type=Path, help="folder to read: of the training, or of its copy")
    parser.add_argument("target", type=Path, help="folder to write")
    arguments = parser.parse_args()
    {"pack": pack, "unpack": unpack}[arguments.action](arguments.source, arguments.target)


def pack(folder: Path, copy: Path) -> None:
    """Write the checkpoint and the log of a training to the folder `copy`, in a sixth of the space.

    Numbers become bfloat16. Two things are left out: the average of the weights, which a continued training starts
    again from the weights, and the momentum of Muon, an average over twenty steps.
    """
    state = torch.load(folder / CHECKPOINT, map_location="cpu", weights_only=True)
    del state["average"]
    for optimizer in state["optimizers"]:
        kept = {key: value for key, value in optimizer["state"].items() if "momentum_buffer" not in value}
        optimizer["state"] = kept
    buffer = io.BytesIO()
    torch.save(_halved(state), buffer)
    copy.mkdir(parents=True, exist_ok=True)
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 6, "lc": 0, "lp": 1, "pb": 1}]  # of values of two bytes
    write_bytes(lzma.compress(buffer.getvalue(), filters=filters), copy / PACKED)
    write_bytes((folder / LOG).read_bytes(), copy / LOG)


def unpack(copy: Path, folder: Path) -> None:
    """Let the training in `folder` continue from a packed one, unless it has begun.

    Raises BadRequest if there is no packed training.
    """
    if (folder / CHECKPOINT).exists():
        return
    if not (copy / PACKED).is_file():
        raise BadRequest(f"{copy} holds no {PACKED}: name a folder that `checkpoint pack` wrote.")
    folder.mkdir(parents=True, exist_ok=True)
    write_bytes((copy / LOG).read_bytes(), folder / LOG)
    write_bytes(lzma.decompress((copy / PACKED).read_bytes()), folder / CHECKPOINT)


def _halved(value: Any) -> Any:
    """Return the nested value with bfloat16 tensors. Counts, which are scalars, keep their type."""
    if isinstance(value, Tensor):
        return value.bfloat16() if value.is_floating_point() and value.ndim else value
    if isinstance(value, dict):
        return type(value)((name, _halved(entry)) for name, entry in value.items())
    return [_halved(entry) for entry in value] if isinstance(value, list) else value


if __name__ == "__main__":
    main()
