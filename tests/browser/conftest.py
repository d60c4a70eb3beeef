"""The dashboard in a real browser, with real servers and workers, each in a results folder of its own."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from dit_core.jobs.queue import Queue
from dit_core.jobs.worker import worker_state
from dit_core.recipes.recipe import canonical
from dit_core.records.spec import RunSpec
from dit_core.records.store import Store
from tests.dashboard import CHROMIUM, PATIENCE_MS, ROOT, Dashboard, chromium, serve
from tests.factory import make_record, make_sheets

TABLE = '[data-testid="stTable"]'

expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    with chromium() as opened:
        yield opened


@pytest.fixture(autouse=True)
def closed_pages(browser) -> Iterator[None]:
    """Close every page after its test: an open page that follows a job keeps the machine busy, also after a failure."""
    yield
    for context in browser.contexts:
        context.close()


@pytest.fixture(scope="package")
def filled(tmp_path_factory) -> Iterator[Dashboard]:
    """Four made records."""
    folder = tmp_path_factory.mktemp("filled")
    store = Store(folder)
    for bits in (None, 8, 4, 2):
        recipe = canonical([{"name": "quantization", "bits": bits}]) if bits else ()
        record = make_record(RunSpec(techniques=recipe, samples=1000))
        store.put(record, make_sheets(record), local=False)
    with serve(folder) as dashboard:
        yield dashboard
        assert dashboard.foreign == []


@pytest.fixture(scope="package")
def bundled(tmp_path_factory) -> Iterator[Dashboard]:
    """All that is bundled: records, panels, networks of random weights."""
    folder = tmp_path_factory.mktemp("bundled")
    shutil.copytree(ROOT / "cached_results", folder, ignore=shutil.ignore_patterns("local"), dirs_exist_ok=True)
    with serve(folder) as dashboard:
        yield dashboard
        assert dashboard.foreign == []


@pytest.fixture(scope="package")
def quick(tmp_path_factory) -> Iterator[Dashboard]:
    """No records, and a worker that fakes runs: a step takes 20 ms."""
    with with_worker(tmp_path_factory.mktemp("quick"), "tests.fake_job") as dashboard:
        yield dashboard


@contextmanager
def with_worker(
    folder: Path, module: str, server: Mapping[str, str] | None = None, **variables: str
) -> Iterator[Dashboard]:
    """A dashboard over the results in `folder`, with the worker that `python -m module` starts.

    `variables` are more variables of the environment of both, `server` those that the server has instead.
    """
    queue = Queue(folder / "queue")
    own = {"DIT_RESULTS": str(folder), "DIT_QUEUE": str(queue.root)}
    worker = subprocess.Popen([sys.executable, "-m", module], cwd=ROOT, env={**os.environ, **own, **variables})
    try:
        wait_for_worker(queue)
        with serve(folder, **{**variables, **(server or {})}) as dashboard:
            yield dashboard
            assert dashboard.foreign == []
    finally:
        worker.terminate()
        worker.wait(60)


def wait_for_worker(queue: Queue, patience_s: float = 60) -> None:
    until = time.monotonic() + patience_s
    while not worker_state(queue).alive and time.monotonic() < until:
        time.sleep(0.1)
    assert worker_state(queue).alive


def click_point(page: Page, plot: int, nth: int) -> None:
    """Click the marker of a run; markers are in the order in which the figure draws them."""
    points = page.locator(".js-plotly-plot").nth(plot).locator(".scatterlayer .trace .points path.point")
    expect(points.first).to_be_visible()
    box = points.nth(nth).bounding_box()
    assert box
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
