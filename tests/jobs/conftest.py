"""A queue of its own for each test, and workers of fake jobs in threads and in processes."""

import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dit_core.jobs.queue import Queue
from dit_core.jobs.worker import Worker
from tests.fake_job import run_job
from tests.workers import PATIENCE_S, processes


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Queue:
    monkeypatch.setenv("DIT_RESULTS", str(tmp_path))
    monkeypatch.delenv("DIT_QUEUE", raising=False)
    return Queue()


@pytest.fixture
def work(queue: Queue) -> Iterator[Callable[..., Worker]]:
    """Start a worker in a thread; it is stopped at the end of the test."""
    started: list[tuple[Worker, threading.Thread]] = []

    def start(grace_s: float = 30.0) -> Worker:
        worker = Worker(queue, run_job, preload="tests.fake_job", poll_s=0.02, grace_s=grace_s)
        thread = threading.Thread(target=worker.run)
        thread.start()
        started.append((worker, thread))
        return worker

    yield start
    for worker, thread in started:
        worker.stop()
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


@pytest.fixture
def process(queue: Queue) -> Iterator[Callable[[], subprocess.Popen]]:
    with processes() as start:
        yield start
