"""What the server process loads and starts."""

import re
import subprocess
import sys
import time

import pytest

from dit_core.jobs.queue import Queue
from dit_core.jobs.worker import is_served
from dit_core.records.spec import RunSpec
from dit_core.ui import server
from tests.pages.conftest import MAIN, baseline, put, quantized
from tests.workers import until

PAGES = tuple(re.findall(r'PAGES / "(\w+)\.py"', MAIN.read_text()))


def test_every_page_of_the_folder_is_in_the_navigation():
    assert sorted(PAGES) == sorted(path.stem for path in (MAIN.parents[2] / "pages").glob("*.py"))


@pytest.mark.slow
def test_no_page_ever_loads_torch(inside_files):
    put(baseline())
    put(quantized(4))
    for pixels in (256, 512):
        put(RunSpec(model=f"random:DiT-S/2@{pixels}", steps=1, guidance=1.0, batch_size=1))
    code = f"""
import sys
from streamlit.testing.v1 import AppTest
at = AppTest.from_file({str(MAIN)!r}, default_timeout=60).run()
for page in {PAGES}:
    at.switch_page(f"../../pages/{{page}}.py").run()
    assert not at.exception, at.exception
print(*{{"torch", "torchao", "diffusers"}} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=MAIN.parents[2])
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == ""


@pytest.mark.parametrize("page", PAGES)
def test_pages_hold_no_logic(page):
    assert len((MAIN.parents[2] / "pages" / f"{page}.py").read_text().splitlines()) < 100


def test_the_server_is_known_to_the_worker_until_it_ends_and_says_what_goes_on(monkeypatch, queue, capsys):
    started = []
    monkeypatch.setattr(server, "ensure_worker", started.append)
    with server.worker(), server.worker():
        assert is_served(Queue())
    assert not is_served(Queue())
    assert not capsys.readouterr().err
    with server.worker():
        queue.submit(quantized(4))
    assert "1 job goes on without the dashboard" in capsys.readouterr().err
    assert len(started) == 3


def test_a_worker_that_died_is_replaced_while_nobody_looks(monkeypatch, queue):
    started = []
    monkeypatch.setattr(server, "ensure_worker", lambda queue: started.append(time.monotonic()))
    monkeypatch.setattr(server, "WATCH_S", 0.01)
    queue.submit(quantized(4))
    with server.worker():
        until(lambda: len(started) > 2)


def test_the_pages_come_up_without_a_usable_queue(folders):
    Queue().root.write_text("a file where the folder should be")
    with server.worker():
        pass


@pytest.mark.parametrize("page", PAGES)
def test_a_worker_that_died_is_replaced_whatever_page_is_open(open_page, queue, monkeypatch, page):
    started = []
    monkeypatch.setattr("dit_core.ui.server.ensure_worker", started.append)
    open_page(page)
    assert not started
    queue.submit(quantized(4))
    queue.claim()
    open_page(page)
    assert started
