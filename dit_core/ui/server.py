"""What the server does besides showing pages: import slow modules before the first visit, and keep a worker running."""

import importlib
import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from dit_core.experiment.known import local_environment
from dit_core.jobs.job import ACTIVE
from dit_core.jobs.queue import Queue, QueueError
from dit_core.jobs.worker import WorkerState, ensure_worker, serving, worker_state
from dit_core.ui import data

WATCH_S = 5.0
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
    """See to it that a worker runs while the server runs. The pages work without a worker, too.

    All dashboards of a queue share one worker. It outlives each of them: it runs the jobs that wait, and ends when none
    waits and no dashboard is left.
    """
    queue, ended = Queue(), threading.Event()
    with ExitStack() as stack:
        try:
            stack.enter_context(serving(queue))
            ensure_worker(queue)
        except (QueueError, OSError) as error:
            logging.getLogger(__name__).warning("No worker was started: %s", error)
        watch = threading.Thread(target=_watch, args=(queue, ended), daemon=True)
        watch.start()
        try:
            yield
        finally:
            ended.set()
            watch.join(timeout=1.0)
            if left := _active(queue):
                print(
                    f"{left} {'job goes' if left == 1 else 'jobs go'} on without the dashboard: "
                    "to stop the worker, run python -m dit_core worker --stop",
                    file=sys.stderr,
                )


def _watch(queue: Queue, ended: threading.Event) -> None:
    """Replace a worker that died while jobs wait, also if nobody opens a page."""
    while not ended.wait(WATCH_S):
        with suppress(QueueError, OSError):
            keep_worker(queue)


def _active(queue: Queue) -> int:
    """How many jobs wait or run; 0 if the queue cannot be used."""
    with suppress(QueueError, OSError):
        return queue.count(*ACTIVE)
    return 0
