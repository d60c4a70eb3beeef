"""What the server does besides showing pages: import slow modules before the first visit, and keep a worker running."""

import importlib
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from dit_core.experiment.known import local_environment
from dit_core.jobs.job import ACTIVE
from dit_core.jobs.queue import Queue, QueueError
from dit_core.jobs.worker import WorkerState, ensure_worker, stop_worker, worker_state
from dit_core.ui import data

SLOW_IMPORTS = (
    "pandas",
    "plotly.graph_objects",
    "plotly.io",
    "plotly.tools",
    "PIL.Image",
    "dit_core.ui.run_live.form",
    "dit_core.ui.run_live.job_panel",
)


def warm_up() -> None:
    """Import modules and read records that the first visit would otherwise wait for."""
    for name in SLOW_IMPORTS:
        importlib.import_module(name)
    data.groups()
    for device in data.devices():
        threading.Thread(target=local_environment, args=(device,), daemon=True).start()  # querying a GPU takes seconds


def keep_worker(queue: Queue) -> WorkerState:
    """Return the state of the worker. If it died while jobs wait or run, start a new one, which takes these over."""
    state = worker_state(queue)
    if not state.alive and queue.count(*ACTIVE):
        ensure_worker(queue)
    return state


@contextmanager
def worker() -> Iterator[None]:
    """Run a worker while the server runs, unless another one already runs. The pages work without a worker, too."""
    queue = Queue()
    try:
        started = not worker_state(queue).alive
        ensure_worker(queue)
    except (QueueError, OSError) as error:
        logging.getLogger(__name__).warning("No worker was started: %s", error)
        started = False
    try:
        yield
    finally:
        if started:
            stop_worker(queue, wait_s=3.0)
