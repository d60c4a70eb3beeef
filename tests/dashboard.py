"""A dashboard server in its own process and a browser, for the browser tests and the benchmarks."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Page, sync_playwright

from dit_core.jobs.queue import Queue
from dit_core.jobs.worker import stop_worker

ROOT = Path(__file__).resolve().parents[1]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE_MS = 120_000  # for the page, on a busy machine
DRAWN = """() => !document.querySelector('[data-testid="stSkeleton"]')
    && [...document.querySelectorAll('[data-testid="stPlotlyChart"]')].every(e => e.querySelector('.main-svg'))
    && [...document.images].every(e => e.complete)"""


@dataclass
class Dashboard:
    """A running server: its address, its results folder, and its process if this program started it."""

    url: str
    results: Path
    pid: int | None = None
    foreign: list[str] = field(default_factory=list)

    def open(self, browser: Browser, path: str, script: str = "", **options) -> Page:
        """Open a page in a new browser profile; requests to other machines are recorded in `foreign`.

        `script` runs in the page before all of its own.
        """
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        context.add_init_script(script)
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("request", lambda request: self._note(request.url))
        page.on("websocket", lambda socket: self._note(socket.url))
        page.goto(self.url + path)
        settle(page)
        return page

    def _note(self, url: str) -> None:
        address = urlsplit(url)
        if address.scheme not in ("data", "blob") and address.hostname != "127.0.0.1":
            self.foreign.append(url)


@contextmanager
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield opened
        opened.close()


@contextmanager
def serve(folder: Path, *, stop: bool = True, **variables: str) -> Iterator[Dashboard]:
    """Run `streamlit run app.py` with its own results folder and queue, and `stop` the worker that it started.

    `variables` are more variables of its environment.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    own = {"DIT_RESULTS": str(folder), "DIT_QUEUE": str(folder / "queue"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.headless=true", f"--server.port={port}"]
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **own, **variables}, stdout=log, stderr=log)
    dashboard = Dashboard(f"http://127.0.0.1:{port}", folder, server.pid)
    try:
        wait_for(dashboard.url + "/_stcore/health", server)
        yield dashboard
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(60)
        if stop:
            stop_worker(Queue(folder / "queue"))


def wait_for(url: str, server: subprocess.Popen, patience_s: float = 120) -> None:
    """Wait until the server answers; raise AssertionError if it exits or takes too long."""
    until = time.monotonic() + patience_s
    while time.monotonic() < until and server.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    raise AssertionError("the server did not come up")


def settle(page: Page) -> None:
    """Wait until the page's script has run."""
    page.wait_for_selector('[data-testid="stApp"][data-test-script-state="notRunning"]')


def painted(page: Page) -> None:
    """Wait until everything on the page is drawn: no placeholders, every plot and every picture visible."""
    settle(page)
    page.wait_for_function(DRAWN)
