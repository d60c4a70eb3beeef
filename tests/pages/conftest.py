"""Pages run in a results folder and a queue of their own, without a worker."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from dit_core.experiment.known import local_environment
from dit_core.inside import files
from dit_core.jobs.queue import Queue
from dit_core.recipes import registry as techniques
from dit_core.recipes.knobs import recover_knob
from dit_core.recipes.recipe import canonical
from dit_core.records.spec import RunSpec
from dit_core.records.store import Store
from dit_core.ui import data
from tests.app_pages import AppTest
from tests.factory import make_record, make_sheets
from tests.workers import start_no_worker

ROOT = Path(__file__).resolve().parents[2]
MAIN = ROOT / "dit_core" / "ui" / "main.py"
Open = Callable[..., AppTest]


@dataclass(frozen=True)
class Everything:
    """Has a knob of every kind (nowhere, 2020).

    More words that the form does not need.
    """

    switch: bool = field(default=True, metadata={"help": "On or off."})
    few: int = field(default=3, metadata={"help": "A small range.", "min": 1, "max": 8})
    many: int = field(default=500, metadata={"help": "A wide range.", "min": 1, "max": 10_000})
    share: float = field(default=0.5, metadata={"help": "A part.", "min": 0.0, "max": 1.0, "step": 0.1})
    word: str = field(default="plain", metadata={"help": "Any word."})
    pick: str = field(default="a", metadata={"help": "One of two.", "choices": ("a", "b")})
    recover: str = recover_knob()
    long_pick: int = field(default=2, metadata={"help": "One of eight.", "choices": (1, 2, 3, 4, 5, 6, 7, 8)})


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    """A results folder and a queue that no other test sees; the worker that a page would start is noted instead."""
    monkeypatch.setenv("DIT_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("DIT_QUEUE", str(tmp_path / "queue"))
    monkeypatch.setattr(data, "KEPT_S", 0.0)  # tests edit records in place
    start_no_worker(monkeypatch)
    return tmp_path


@pytest.fixture
def queue() -> Queue:
    return Queue()


@pytest.fixture
def open_page() -> Open:
    """`open_page("run_live", seed="3")`: the page as a browser gets it at that address."""

    def open_it(page: str, **query: str | list[str]) -> AppTest:
        at = AppTest.from_file(str(MAIN), default_timeout=60)
        if page != "home":
            at.switch_page(f"../../pages/{page}.py")
        for key, value in query.items():
            at.query_params[key] = value
        at.run()
        assert not at.exception
        return at

    return open_it


@pytest.fixture
def inside_files(folders) -> Path:
    """The bundled panels of the page Inside, in this test's results."""
    return Path(shutil.copytree(ROOT / "cached_results" / files.FOLDER, files.folder()))


@pytest.fixture
def everything(monkeypatch):
    """A technique of that name which only this test knows; `pick` b cannot run on this device."""
    monkeypatch.setattr(techniques, "_REGISTRY", dict(techniques.registry()))

    def unsupported(config, device):
        return "it needs a device that this machine lacks." if config.pick == "b" else None

    def do_nothing(model, config, context):
        return model

    do_nothing.__module__ = "everything"  # a technique goes by the name of its module
    techniques.technique(Everything, title="Everything", family="caching", unsupported=unsupported)(do_nothing)


def quantized(bits: int = 4, **fields) -> RunSpec:
    """A quantized run of the workload of `baseline`."""
    return RunSpec(techniques=canonical([{"name": "quantization", "bits": bits}]), **{"samples": 1000, **fields})


def baseline(**fields) -> RunSpec:
    return RunSpec(**{"samples": 1000, **fields})


def put(spec: RunSpec, *, local: bool = False, again: bool = False, **sections) -> str:
    """Store a record; returns its run id."""
    record = make_record(spec, **sections)
    Store().put(record, make_sheets(record), local=local, again=again)
    return record.run_id


def put_here(spec: RunSpec, **sections) -> str:
    """The same, of this machine as it is now."""
    return put(spec, local=True, **sections, environment=local_environment("cpu"))


def run_button(at: AppTest):
    return at.button(key="run")


def alts(at: AppTest) -> list[str]:
    """What the pictures of the page are called."""
    return [picture.alt for image in at.image for picture in image.proto.imgs]


def plain(element: Any) -> str:
    """The text of an element as a page shows it, without the signs that keep it from being read as Markdown."""
    return str(element.value).replace("\\", "")


def texts(at: AppTest) -> str:
    """Everything that is written on the page, in one string; messages as a page shows them."""
    kinds = (at.title, at.subheader, at.markdown, at.caption, at.text)
    messages = [plain(element) for kind in (at.info, at.warning, at.error) for element in kind]
    return "\n".join([*(str(element.value) for kind in kinds for element in kind), *messages])
