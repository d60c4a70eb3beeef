"""The job runner: what a worker runs in a process of its own for each job. Imports no torch until a job runs."""

import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from dit_core.experiment.outcome import Ending, of_error
from dit_core.jobs.job import PICTURES, Job
from dit_core.jobs.queue import Queue, QueueError
from dit_core.listener import Listener
from dit_core.records.record import RunRecord
from dit_core.records.store import Store
from dit_core.system.files import replace_bytes

_EVERY_S = 0.2  # shortest time between two writes of progress, or two reads of the cancel flag


class JobEnding(NamedTuple):
    """How a job ended, and the id of the record that it made."""

    ending: Ending
    run_id: str | None = None


def run_job(job_id: int, run: Callable[..., RunRecord] | None = None) -> JobEnding:
    """Run a job of the default queue and return its ending. `run` replaces `experiment.run.run` in tests."""
    queue = Queue()
    job = queue.get(job_id)
    if job is None:
        raise ValueError(f"The queue has no job {job_id}.")
    try:
        return JobEnding(Ending("done"), _work(queue, job, run))
    except Exception as error:
        traceback.print_exc()
        return JobEnding(of_error(error))


def _work(queue: Queue, job: Job, run: Callable[..., RunRecord] | None) -> str | None:
    """Measure the run and return the id of its record; of an export or of pictures only, write them and return None."""
    listener = _listener(queue, job.id)
    if job.export_form:
        from dit_core.experiment.export import export_archive  # imports torch

        export_archive(job.spec, queue.archive(job), listener, job.export_form)
        return None
    if job.kind == PICTURES:
        from dit_core.experiment.export import pictures  # imports torch

        pictures(job.spec, listener)
        return None
    if run is None:
        from dit_core.experiment.run import run  # imports torch
    return run(job.spec, store=Store(), listener=listener, again=job.again).run_id


def _listener(queue: Queue, job_id: int) -> Listener:
    """A listener that writes progress and previews to the queue. A full disk stops the progress, not the run."""
    folder, written = queue.folder(job_id), {"": 0.0}
    asked_at, cancelling, estimated, latest = 0.0, False, "", ("", 0, 0)

    def progress(stage: str, step: int, of: int) -> None:
        nonlocal latest
        latest = stage, step, of
        now, name = time.monotonic(), stage.partition(" ")[0]  # the stage of a training also names its loss
        if name not in written or step >= of or now - written[name] >= _EVERY_S:
            written[name] = now
            with suppress(QueueError):
                queue.progress(job_id, stage + estimated, step, of)

    def estimate(ratio: float, basis: str) -> None:
        nonlocal estimated
        estimated = f" (first estimate: ×{ratio:.2f}, {basis})"
        stage, step, of = latest
        with suppress(QueueError):
            queue.progress(job_id, stage + estimated, step, of)

    def preview(which: str, png: bytes) -> None:
        with suppress(OSError):
            replace_bytes(png, folder / f"{which}.png")

    def cancelled() -> bool:
        nonlocal asked_at, cancelling
        now = time.monotonic()
        if not cancelling and now - asked_at >= _EVERY_S:
            asked_at = now
            with suppress(QueueError):
                job = queue.get(job_id)
                cancelling = job is None or job.cancelling or not job.active
        return cancelling

    return Listener(progress, preview, cancelled, estimate=estimate)
