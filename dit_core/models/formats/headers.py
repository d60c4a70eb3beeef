"""Read what a file of weights holds, with a `Header` in place of each tensor. Imports no torch, and runs no code.

Formats, recognized by content and not by suffix: safetensors, torch's zip format, torch's format before 1.6, and
folders or index files of several such files (shards).
"""

import argparse
import collections
import json
import pickle
import struct
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PosixPath, PurePosixPath
from typing import IO, Any, NamedTuple

from dit_core.errors import BadRequest
from dit_core.system import causes

SAFETENSORS, ZIP, LEGACY = "safetensors", "zip", "legacy"
INDEX = ".index.json"
METADATA = "__metadata__"  # of a safetensors file: a table of text
WHOLE_MODELS = ("model.safetensors", "diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin")
DTYPES = {  # names in a safetensors header and of torch's storage classes -> names of torch's data types
    **{"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"},
    **{"I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8", "U8": "uint8", "BOOL": "bool"},
    **{"DoubleStorage": "float64", "FloatStorage": "float32", "HalfStorage": "float16", "BFloat16Storage": "bfloat16"},
    **{"LongStorage": "int64", "IntStorage": "int32", "ShortStorage": "int16", "CharStorage": "int8"},
    **{"ByteStorage": "uint8", "BoolStorage": "bool"},
}
_LENGTH_BYTES = 8  # of a safetensors file: length of the JSON header
_LONGEST_HEADER = 100_000_000  # bytes, as in the safetensors library
_LEGACY_PREAMBLE = 3  # pickles before the content: magic number, protocol, system
_CONTAINERS = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("argparse", "Namespace"): argparse.Namespace,
    ("pathlib", "PosixPath"): PurePosixPath,
    ("pathlib", "PurePosixPath"): PurePosixPath,
}
_INERT_MODULES = ("torch", "numpy", "_codecs")  # other classes of these modules become placeholders
_NOT_WEIGHTS = {
    b"version https://git-lfs": "is a Git LFS pointer, not the file: run git lfs pull",
    b"<!doctype": "is a web page: download the file again",
    b"<html": "is a web page: download the file again",
}
DATA_CLASSES = (argparse.Namespace, PosixPath, PurePosixPath)  # data that a training state may hold


@dataclass(frozen=True)
class Header:
    """A tensor without its values: shape, data type, and where the values are in the bytes that `content` reads.

    `strides` and `offset` count values. The data type has the name of torch's; it is empty if it is none of `DTYPES`.
    """

    shape: tuple[int, ...]
    dtype: str = ""
    strides: tuple[int, ...] | None = None
    offset: int = 0
    content: Callable[[], bytes] = field(default=bytes, compare=False)


def files_of(path: Path) -> list[Path]:
    """Return the files that hold the weights: the file itself, or the shards of an index or a folder.

    Raises BadRequest if there are none, or if a shard is missing.
    """
    if path.is_dir():
        indices = sorted(path.glob(f"*{INDEX}"))
        whole = [path / name for name in WHOLE_MODELS if (path / name).is_file()]
        if not indices and not whole:
            raise BadRequest(f"{path} has no weights: it lacks {WHOLE_MODELS[1]} or a file that ends in {INDEX}.")
        path = (whole or indices)[0]
    if not path.name.endswith(INDEX):
        return [path]
    with readable(path, "is no index of shards"):
        names = set(json.loads(path.read_text())["weight_map"].values())
        files = [path.parent / Path(name).name for name in sorted(names)]
    if missing := [file.name for file in files if not file.is_file()]:
        raise BadRequest(f"{path.parent} lacks {missing[0]}, which {path.name} names: restore it.")
    return files


def read_headers(path: Path) -> dict[str, Any]:
    """Return the content of a file, an index or a folder, with headers in place of tensors.

    Raises BadRequest if it cannot be read, holds code or is not a file of weights.
    """
    return merged(path, _read)


def merged(path: Path, read: Callable[[Path], Any]) -> dict[str, Any]:
    """Return the content of one file, or the contents of all shards in one dictionary."""
    files = files_of(path)
    if len(files) == 1:
        return read(files[0])
    return {name: value for file in files for name, value in read(file).items()}


def format_of(path: Path) -> str:
    """Return the format of a file. Raises BadRequest, with what the file is, if it cannot hold weights."""
    with readable(path), path.open("rb") as stream:
        start = stream.read(64)
    if not start:
        raise BadRequest(f"{path} is empty: restore it.")
    if start.startswith(b"PK"):
        return ZIP
    if what := next((what for magic, what in _NOT_WEIGHTS.items() if start.lower().startswith(magic)), None):
        raise BadRequest(f"{path} {what}.")
    if path.suffix.lower() == ".safetensors" or start[_LENGTH_BYTES : _LENGTH_BYTES + 1] == b"{":
        return SAFETENSORS
    return LEGACY


@contextmanager
def readable(path: Path, problem: str = "is damaged, or is no checkpoint") -> Iterator[None]:
    """Turn every error of a parser into a BadRequest that names the file: a file from elsewhere may raise any."""
    try:
        yield
    except BadRequest:
        raise
    except OSError as error:
        raise BadRequest(causes.not_read(path, error)) from error
    except Exception as error:
        raise BadRequest(f"{path} {problem}: restore it.") from error


def _read(path: Path) -> dict[str, Any]:
    kind = format_of(path)
    problem = "is not a whole safetensors file" if kind == SAFETENSORS else "is damaged, or is no checkpoint"
    with readable(path, problem):
        return _READERS[kind](path)


def _read_safetensors(path: Path) -> dict[str, Any]:
    with path.open("rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(_LENGTH_BYTES))
        if length > min(path.stat().st_size, _LONGEST_HEADER):
            raise ValueError("the header is longer than the file")
        header = json.loads(stream.read(length))
    start = _LENGTH_BYTES + length
    metadata = header.pop(METADATA, {})
    return {
        **{name: _safetensors_header(path, start, tensor) for name, tensor in header.items()},
        **({METADATA: metadata} if metadata else {}),
    }


def _safetensors_header(path: Path, start: int, tensor: dict[str, Any]) -> Header:
    first, last = tensor["data_offsets"]

    def content() -> bytes:
        with path.open("rb") as stream:
            stream.seek(start + first)
            return stream.read(last - first)

    return Header(tuple(map(int, tensor["shape"])), DTYPES[tensor["dtype"]], content=content)


def _read_zip(path: Path) -> Any:
    with zipfile.ZipFile(path) as archive:
        names = {name.rpartition("/")[2]: name for name in archive.namelist()}
        if "constants.pkl" in names:
            raise BadRequest(f"{path} is a TorchScript program: give a checkpoint with its state dict.")
        if "data.pkl" not in names:
            raise BadRequest(f"{path} is a zip file without weights: give the checkpoint, or unpack it first.")
        folder = names["data.pkl"].removesuffix("data.pkl")

        def storage(key: str) -> bytes:
            with zipfile.ZipFile(path) as archive:
                return archive.read(f"{folder}data/{key}")

        with archive.open(names["data.pkl"]) as stream:
            return _Unpickler(stream, path, storage).load()


def _read_legacy(path: Path) -> Any:
    with path.open("rb") as stream:
        for _ in range(_LEGACY_PREAMBLE):
            _Unpickler(stream, path).load()
        return _Unpickler(stream, path).load()


_READERS: dict[str, Callable[[Path], Any]] = {SAFETENSORS: _read_safetensors, ZIP: _read_zip, LEGACY: _read_legacy}


class _Placeholder:
    """Takes the place of an object whose class is not needed, for example of a data type. Runs nothing."""

    def __init__(self, name: str = "") -> None:
        self.name = name

    def __call__(self, *arguments: Any, **options: Any) -> "_Placeholder":
        return self

    def __setstate__(self, state: Any) -> None: ...

    def __setitem__(self, key: Any, value: Any) -> None: ...

    def append(self, value: Any) -> None: ...


class _Unpickler(pickle.Unpickler):
    """Builds containers, and headers in place of tensors. Every other class is refused or becomes a placeholder."""

    def __init__(self, stream: IO[bytes], path: Path, storage: Callable[[str], bytes] = lambda key: b"") -> None:
        super().__init__(stream, encoding="utf-8")
        self.path, self.storage = path, storage

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _CONTAINERS:
            return _CONTAINERS[module, name]
        if module == "torch._utils" and name in ("_rebuild_tensor", "_rebuild_tensor_v2"):
            return _header
        if module == "torch._utils" and name in ("_rebuild_parameter", "_rebuild_parameter_with_state"):
            return lambda data, *rest: data
        if (module, name) == ("torch", "Size"):
            return tuple
        if module.partition(".")[0] in _INERT_MODULES and module != "torch.nn.modules" and ".nn.modules." not in module:
            return _Placeholder(name)
        raise holds_more(self.path, f"{module}.{name}")

    def persistent_load(self, pid: Any) -> "_Storage":
        _, kind, key, *_ = pid
        return _Storage(DTYPES.get(getattr(kind, "name", ""), ""), lambda: self.storage(str(key)))


class _Storage(NamedTuple):
    dtype: str
    content: Callable[[], bytes]


def _header(storage: _Storage, offset: int, size: Sequence[int], strides: Sequence[int], *rest: Any) -> Header:
    """Take the place of `torch._utils._rebuild_tensor_v2`."""
    return Header(tuple(map(int, size)), storage.dtype, tuple(map(int, strides)), int(offset), storage.content)


def holds_more(path: Path, name: str) -> BadRequest:
    """Return the error for a file that refers to a class or function that is no data."""
    return BadRequest(
        f"{path} holds more than weights ({name}), so it was not loaded: save only model.state_dict() with torch.save."
    )
