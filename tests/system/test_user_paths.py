"""A path that a person names may begin with `~`, wherever it is read; the home of an unknown user is no error."""

import argparse
import errno
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dit_core.analysis import verify
from dit_core.cli.arguments import parser
from dit_core.cli.commands import COMMANDS
from dit_core.cli.paths import usable_path
from dit_core.data.training_images import training_images
from dit_core.errors import BadRequest
from dit_core.experiment import own_metrics
from dit_core.jobs.queue import Queue
from dit_core.models import sources
from dit_core.models.sources import autoencoders
from dit_core.models.sources.folder import save_model
from dit_core.models.sources.options import read_classes
from dit_core.quality import judgement
from dit_core.records.places import results_root
from dit_core.records.spec import RunSpec
from dit_core.records.store import Store
from dit_core.system.cache import cache_folder, data_folder
from dit_core.system.files import named_path
from tests.factory import make_record, make_sheets
from tests.models.published_files import save_pipeline, state_dict

READ = {
    "checkpoint.pt": lambda name: sources.find(name).digest,
    "model": lambda name: sources.find(name).load(),
    "pipeline": lambda name: sources.find(name).digest,
    "model/vae": autoencoders.read,
    "images": judgement.own_reference,
    "images.npz": judgement.own_reference,
    "classes": lambda name: training_images(name, None, None),
    "metric.py": own_metrics.find,
    "names.txt": read_classes,
    "record.json": lambda name: verify.find_record(Store(), name),
}


@pytest.fixture(scope="module")
def files(tiny_model, tmp_path_factory) -> Path:
    """A folder with a file of every kind that people name."""
    home = tmp_path_factory.mktemp("home")
    torch.save({"ema": state_dict()}, home / "checkpoint.pt")
    save_model(tiny_model, home / "model")
    save_pipeline(home / "pipeline")
    for folder in ("images", "classes/one"):
        (home / folder).mkdir(parents=True)
        for number in range(judgement.FEWEST):
            Image.new("RGB", (8, 8)).save(home / folder / f"{number}.png")
    np.savez(home / "images.npz", np.zeros((judgement.FEWEST, 8, 8, 3), np.uint8))
    (home / "metric.py").write_text('BETTER = "lower"\ndef metric(images):\n    return 1, 0, 2\n')
    (home / "names.txt").write_text("one\ntwo\n")
    record = make_record(RunSpec())
    shutil.copy(Store(home / "store").put(record, make_sheets(record)), home / "record.json")
    return home


@pytest.fixture
def home(files, monkeypatch) -> Path:
    monkeypatch.setenv("HOME", str(files))
    return files


@pytest.mark.parametrize("name", READ)
def test_a_tilde_is_the_home_folder(name, home):
    assert READ[name](f"~/{name}")


@pytest.mark.parametrize("name", READ)
def test_the_home_of_an_unknown_user_is_a_bad_request(name, home):
    with pytest.raises(BadRequest):
        READ[name](f"~nobody-with-this-name/{name}")


@pytest.mark.parametrize("name", READ)
def test_a_name_that_is_too_long_is_a_bad_request(name, home):
    with pytest.raises(BadRequest):
        READ[name](str(home / f"{'x' * 300}-{Path(name).name}"))


@pytest.mark.parametrize("cause", ["name is too long", "null character", "permission is denied"])
def test_a_path_that_the_system_refuses_is_a_bad_request_with_the_reason(cause, monkeypatch):
    def refuse(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    name = {"name is too long": "x" * 300, "null character": "\0"}.get(cause, "closed/file")
    if cause == "permission is denied":
        monkeypatch.setattr(Path, "stat", refuse)
    with pytest.raises(BadRequest, match=cause):
        named_path(name)


@pytest.mark.parametrize(
    ("variable", "place"),
    [
        ("DIT_RESULTS", results_root),
        ("DIT_QUEUE", lambda: Queue().root),
        ("DIT_CACHE", cache_folder),
        ("DIT_DATA", data_folder),
    ],
)
def test_a_variable_may_name_the_home_folder_and_an_unknown_one(variable, place, home, monkeypatch):
    monkeypatch.setenv(variable, "~/here")
    assert place() == home / "here"
    monkeypatch.setenv(variable, "~nobody-with-this-name/here")
    assert place().name == "here"


def test_every_option_that_takes_a_path_takes_a_tilde():
    """A shell replaces the tilde of `--out ~/x`, but not the one of `--out=~/x`."""
    parsers, paths = [parser("", COMMANDS)], []
    while parsers:
        for action in parsers.pop()._actions:
            if isinstance(action, argparse._SubParsersAction):
                parsers += action.choices.values()
            else:
                assert action.type is not Path, action.dest
                paths += [action.dest] if action.type is usable_path else []
    assert {"out", "npz", "config", "results", "grid", "file", "source", "samples", "reference", "write"} <= set(paths)
