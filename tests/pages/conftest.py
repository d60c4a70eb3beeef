"""Pages run in a results folder and a queue of their own, without a worker."""

from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from dit_core.jobs import Queue
from dit_core.spec import RunSpec
from dit_core.store import Store
from dit_core.techniques import canonical
from tests.factory import make_record, make_sheets

MAIN = Path(__file__).resolve().parents[2] / "dit_core" / "ui" / "main.py"
Open = Callable[..., AppTest]


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    """A results folder and a queue that no other test sees; the worker that a page would start is noted instead."""
    monkeypatch.setenv("DIT_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("DIT_QUEUE", str(tmp_path / "queue"))
    monkeypatch.setattr("dit_core.ui.live.ensure_worker", lambda queue: None)
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


def alts(at: AppTest) -> list[str]:
    """What the pictures of the page are called."""
    return [picture.alt for image in at.image for picture in image.proto.imgs]


def texts(at: AppTest) -> str:
    """Everything that is written on the page, in one string."""
    kinds = (at.title, at.subheader, at.markdown, at.caption, at.info, at.warning, at.error, at.text)
    return "\n".join(str(element.value) for kind in kinds for element in kind)
