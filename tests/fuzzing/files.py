"""Damaged and odd files of every kind that the program reads: each is read, or refused as a bad request."""

import contextlib
import io
import json
import pickle
import resource
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save_file

from dit_core.analysis import archive
from dit_core.data import own_images, training_images
from dit_core.errors import BadRequest
from dit_core.experiment import own_metrics
from dit_core.inside import files as inside_files
from dit_core.jobs.queue import Queue, QueueError
from dit_core.models import sources
from dit_core.models.sources import registry
from dit_core.models.sources.folder import save_model
from dit_core.models.sources.options import read_classes
from dit_core.quality import adm
from dit_core.records.spec import RunSpec
from dit_core.records.store import Store
from dit_core.sweeps.explore import read_search
from dit_core.sweeps.grid import read_grid
from dit_core.training.run import train
from dit_core.ui import notes
from tests.fuzzing.odd import JSON, TEXT, changed, damaged
from tests.fuzzing.run import REPOSITORY, Target
from tests.models.published_files import save_pipeline, state_dict, training_state

MEMORY = 12_000_000_000  # bytes: a file that asks for more is a finding, and must not take the machine with it
Read = Callable[[Path], Any]


def targets(folder: Path) -> dict[str, Target]:
    """A target for each kind of file, made from a good one."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))
    place = folder / "files"
    place.mkdir()
    good = {name: bytes(data) for name, data in _good_files(place)}
    read: dict[str, Read] = {
        "checkpoint.pt": _model,
        "checkpoint.safetensors": _model,
        "legacy.pt": _model,
        "grid.toml": read_grid,
        "search.toml": read_search,
        "training.toml": _training,
        "images.npz": _images,
        "statistics.npz": adm.read_reference,
        "metric.py": lambda path: own_metrics.find(str(path)),
        "names.txt": lambda path: read_classes(str(path)),
        "names.json": lambda path: read_classes(str(path)),
        "records.zip": lambda path: archive.merge(Store(place / "merged"), path),
        "queue.sqlite3": lambda path: _queue(path, place / "queue"),
    }
    found: dict[str, Target] = {
        f"bytes of {name}": (damaged(good[name]), _check(place / name, function)) for name, function in read.items()
    }
    for name in ("grid.toml", "search.toml", "training.toml"):
        import tomllib

        content = tomllib.loads(good[name].decode())
        found[f"values of {name}"] = (changed(content).map(_toml), _check(place / name, read[name]))
    for name in ("names.json",):
        found[f"values of {name}"] = (changed(json.loads(good[name])).map(_json), _check(place / name, read[name]))
    found |= {
        "values of models.json": (
            changed({"mine": {"target": str(place / "checkpoint.pt"), "options": {"heads": 6}}}),
            _kept,
        ),
        "values of a note": (changed({"name": "a", "text": "b", "pinned": True}) | JSON, _note),
        "values of a panel": (st.sampled_from(inside_files.PANELS).flatmap(_panels), _panel),
        "loading": (_changed_config(place / "folder"), lambda text: _folder(place, text)),
        "values of a pipeline": (_pipelines(place / "pipeline"), lambda example: _pipeline(place, *example)),
        "a header of safetensors": (
            _headers(good["checkpoint.safetensors"]),
            _check(place / "checkpoint.safetensors", _model),
        ),
        "keys of a checkpoint": (_states(), _check(place / "checkpoint.pt", _model)),
        "folders of images": (
            st.dictionaries(TEXT, damaged(good["image.png"]), min_size=1, max_size=3),
            lambda example: _folders(place, example),
        ),
        "names of models": (TEXT | st.lists(TEXT, min_size=2, max_size=3).map("/".join), _name),
    }
    return found


def _check(path: Path, read: Read) -> Callable[[Any], None]:
    def check(data: Any) -> None:
        path.write_bytes(data if isinstance(data, bytes) else str(data).encode("utf-8", "surrogatepass"))
        with contextlib.suppress(BadRequest, QueueError):
            read(path)

    return check


def _good_files(place: Path) -> Iterator[tuple[str, bytes]]:
    state = state_dict()
    torch.save(training_state(state, state), place / "checkpoint.pt")
    torch.save({"ema": state}, place / "legacy.pt", _use_new_zipfile_serialization=False)
    save_file(state, place / "checkpoint.safetensors")
    shutil.copy(REPOSITORY / "dit_core/sweeps/grid.toml", place / "grid.toml")
    shutil.copy(REPOSITORY / "dit_core/sweeps/explore.toml", place / "search.toml")
    shutil.copy(REPOSITORY / "dit_core/training/configs/emoji.toml", place / "training.toml")
    np.savez(place / "images.npz", np.zeros((4, 8, 8, 3), np.uint8))
    np.savez(place / "statistics.npz", mu=np.zeros(8), sigma=np.eye(8), mu_s=np.zeros(6), sigma_s=np.eye(6))
    (place / "metric.py").write_text('TITLE = "One"\nBETTER = "lower"\n\n\ndef metric(images):\n    return 1, 0, 2\n')
    (place / "names.txt").write_text("one\ntwo\n")
    (place / "names.json").write_text('{"id2label": {"0": "one", "1": "two, 2"}}')
    Image.new("RGB", (8, 8), "red").save(place / "image.png")
    with zipfile.ZipFile(place / "records.zip", "w", zipfile.ZIP_DEFLATED) as zipped:
        for path in sorted((REPOSITORY / "cached_results").glob("baseline-*.json"))[:2]:
            zipped.write(path, path.name)
    queue = Queue(place / "queue")
    queue.submit(RunSpec())
    (place / "queue.sqlite3").write_bytes((place / "queue" / "jobs.sqlite3").read_bytes())
    save_pipeline(place / "pipeline")
    save_model(sources.load_model("emoji-wide"), place / "folder")
    for path in place.iterdir():
        if path.is_file():
            yield path.name, path.read_bytes()


def _model(path: Path) -> None:
    source = sources.find(str(path))
    told = (source.facts, source.description, source.needs, source.size, source.structure, source.class_names)
    assert all(each is None or each is not NotImplemented for each in told)
    assert source.digest
    source.check()
    source.load()


def _name(name: str) -> None:
    with contextlib.suppress(BadRequest):
        sources.find(name)
    for read in (own_metrics.find, lambda text: own_images.open_images(Path(text)), read_classes):
        with contextlib.suppress(BadRequest):
            read(name)
    with contextlib.suppress(BadRequest):
        training_images.training_images(name, None, None)


def _training(path: Path) -> None:
    from unittest import mock

    with mock.patch("dit_core.training.run.fit", side_effect=BadRequest("the training begins")):
        train(path, path.parent / "trained", None, "cpu")


def _images(path: Path) -> None:
    images = own_images.open_images(path)
    images.check(8)
    assert sum(len(batch) for batch in images.batches()) == len(images)
    adm.read_samples(path)


def _queue(path: Path, folder: Path) -> None:
    for each in folder.glob("jobs.sqlite3*"):
        each.unlink()
    shutil.copy(path, folder / "jobs.sqlite3")
    queue = Queue(folder)
    queue.list()
    queue.sweeps()
    queue.claim()
    queue.submit(RunSpec(seed=1))


def _kept(content: Any) -> None:
    registry.path().write_text(json.dumps(content))
    try:
        for name in (*registry.entries(), "mine"):
            with contextlib.suppress(BadRequest):
                sources.find(name)
        for each in sources.overview():
            assert each.name
    except BadRequest:
        return
    finally:
        registry.path().unlink(missing_ok=True)


def _note(content: Any) -> None:
    notes.folder().mkdir(parents=True, exist_ok=True)
    path = notes.folder() / "a19a92.json"
    path.write_text(json.dumps(content))
    notes.read()
    path.unlink()


def _panels(name: str) -> Any:
    content = json.loads((REPOSITORY / "cached_results" / inside_files.FOLDER / f"{name}.json").read_text())
    return st.tuples(st.just(name), changed(content))


def _panel(example: tuple[str, Any]) -> None:
    name, content = example
    inside_files.folder().mkdir(parents=True, exist_ok=True)
    (inside_files.folder() / f"{name}.json").write_text(json.dumps(content))
    with contextlib.suppress(BadRequest):
        inside_files.read(name)


def _changed_config(folder: Path) -> Any:
    return changed(json.loads((folder / "config.json").read_text())).map(_json)


def _folder(place: Path, text: str) -> None:
    (place / "folder" / "config.json").write_text(text)
    with contextlib.suppress(BadRequest):
        _model(place / "folder")


def _pipelines(folder: Path) -> Any:
    names = ["model_index.json", "transformer/config.json", "scheduler/scheduler_config.json", "vae/config.json"]
    contents = {name: json.loads((folder / name).read_text()) for name in names}
    return st.sampled_from(names).flatmap(lambda name: st.tuples(st.just(name), changed(contents[name])))


def _pipeline(place: Path, name: str, content: Any) -> None:
    copy = place / "changed pipeline"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(place / "pipeline", copy)
    (copy / name).write_text(json.dumps(content))
    with contextlib.suppress(BadRequest):
        _model(copy)


def _headers(data: bytes) -> Any:
    length = int.from_bytes(data[:8], "little")
    header, weights = json.loads(data[8 : 8 + length]), data[8 + length :]

    def written(content: Any) -> bytes:
        text = json.dumps(content).encode()
        return len(text).to_bytes(8, "little") + text + weights

    return changed(header).map(written)


@st.composite
def _states(draw: Any) -> bytes:
    """A training state whose keys, shapes and types were changed."""
    state: dict[Any, Any] = dict(state_dict())
    for name in draw(st.lists(st.sampled_from(list(state)), min_size=1, max_size=3, unique=True)):
        tensor = state.pop(name)
        change = draw(st.sampled_from(["drop", "rename", "reshape", "type", "value", "cut"]))
        if change == "rename":
            state[draw(TEXT | st.integers() | st.none())] = tensor
        elif change == "reshape":
            state[name] = tensor.reshape(-1)
        elif change == "cut":
            state[name] = tensor[:0]
        elif change == "type":
            types = [torch.bool, torch.int64, torch.float16, torch.complex64, torch.float8_e4m3fn]
            state[name] = tensor.to(draw(st.sampled_from(types)))
        elif change == "value":
            state[name] = draw(JSON)
    content = draw(
        st.sampled_from([state, {"ema": state}, {"model": state, "ema": None}, {"state_dict": state}, [state]])
    )
    stream = io.BytesIO()
    with contextlib.suppress(UnicodeError, pickle.PicklingError):
        torch.save(content, stream)
    return stream.getvalue()


def _folders(place: Path, example: dict[str, bytes]) -> None:
    folder = place / "images"
    shutil.rmtree(folder, ignore_errors=True)
    for name, data in example.items():
        with contextlib.suppress(OSError, ValueError):
            path = folder / f"class {name.replace('/', '')[:40]}" / "a.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    own_images._listed.cache_clear()
    own_images._stated.cache_clear()
    with contextlib.suppress(BadRequest):
        images = own_images.open_images(folder)
        images.check(8)
        for batch in images.batches():
            assert batch.dtype == np.uint8
    with contextlib.suppress(BadRequest):
        drawn = training_images.training_images(str(folder), None, None)
        for _ in drawn.images(8):
            pass


def _json(content: Any) -> str:
    return json.dumps(content)


def _toml(value: Any) -> str:
    return (
        "\n".join(f"{_quoted(str(name))} = {_inline(each)}" for name, each in value.items())
        if isinstance(value, dict)
        else ""
    )


def _inline(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_quoted(str(name))} = {_inline(each)}" for name, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_inline, value)) + "]"
    return _quoted(value) if isinstance(value, str) else _quoted("none") if value is None else str(value).lower()


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "")
