"""What the server does around its pages: load early what is slow to load, and run a worker."""

import importlib
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from dit_core.jobs import Queue, QueueError
from dit_core.search.known import surroundings
from dit_core.ui import reads
from dit_core.worker import ensure_worker, stop_worker, worker_state

HEAVY = (
    "pandas",
    "plotly.graph_objects",
    "plotly.io",
    "plotly.tools",
    "PIL.Image",
    "dit_core.ui.form",
    "dit_core.ui.live",
)


def warm_up() -> None:
    """Import and read what the first visit would otherwise wait for."""
    for name in HEAVY:
        importlib.import_module(name)
    reads.groups()
    for device in reads.devices():
        threading.Thread(target=surroundings, args=(device,), daemon=True).start()  # to ask a GPU takes seconds


@contextmanager
def worker() -> Iterator[None]:
    """A worker while the server runs. One that was there before stays; without one the pages still show results."""
    queue = Queue()
    try:
        ours = not worker_state(queue).alive
        ensure_worker(queue)
    except (QueueError, OSError) as error:
        logging.getLogger(__name__).warning("No worker was started: %s", error)
        ours = False
    try:
        yield
    finally:
        if ours:
            stop_worker(queue, wait_s=3.0)
