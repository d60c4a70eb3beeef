"""One job in a process of its own: `python -m dit_core.child <id>`, or `spare`, started by the worker.

A fresh process gives back all memory of the device when it ends, and its crash is one job's. It writes its own ending
into the queue; where it cannot any more, the worker does. It dies with its worker: the worker holds the other end of
its standard input.
"""

import os
import secrets
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from dit_core.errors import BadRequest, Cancelled
from dit_core.jobs import Job, Queue, QueueError
from dit_core.listener import Listener
from dit_core.processes import die_with
from dit_core.spec import RunRecord
from dit_core.store import Store, StoreError

SPARE = "spare"  # instead of a job's id
MEMORY_HINT = "Choose a smaller batch, fewer samples or a smaller model."
_EVERY_S = 0.2  # progress is written, and the cancel flag read, at most this often
_MEMORY_WORDS = ("out of memory", "not enough memory", "can't allocate memory", "cannot allocate memory")


def main(run: Callable[..., RunRecord] | None = None) -> None:
    """Run the job whose id is the last argument; `SPARE` waits for the id on standard input, with all imports done.

    `run` stands in for `experiment.run` in tests.
    """
    follow_parent()
    die_before_others()
    queue, given = Queue(), sys.argv[-1]
    if given == SPARE:
        run = run or experiment()
        given = os.read(0, 32)
        if not given:
            return  # the worker ended
    job_id = int(given)
    job = queue.get(job_id)
    if job is None or job.state != "running":
        raise SystemExit(f"Job {job_id} is not running: the worker starts it.")
    try:
        run_id = _work(queue, job, run)
    except Exception as error:
        traceback.print_exc()
        state, reason, hint = outcome(error)
        queue.finish(job_id, state, reason=reason, hint=hint)
    else:
        queue.finish(job_id, "done", run_id=run_id)


def experiment() -> Callable[..., RunRecord]:
    """What runs a job, imported, and a zygote kept for its measurements before a thread starts or anything computes."""
    from dit_core import zygote
    from dit_core.experiment import run  # loads torch

    zygote.keep()
    return run


def outcome(error: BaseException) -> tuple[str, str, str]:
    """State, reason and hint of a job that ended with this error."""
    message = (str(error).strip().splitlines() or [""])[0][:300]
    if isinstance(error, Cancelled):
        return "cancelled", "Cancelled while it ran.", ""
    if is_out_of_memory(error):
        return "out-of-memory", f"Memory ran out: {message or type(error).__name__}", MEMORY_HINT
    if isinstance(error, BadRequest | StoreError):
        return "failed", message, ""
    return "failed", f"{type(error).__name__}: {message}".rstrip(": "), "The job's log has the whole story."


def is_out_of_memory(error: BaseException | None) -> bool:
    """On a GPU torch.OutOfMemoryError, on a CPU a RuntimeError known by its words, in plain Python MemoryError."""
    if error is None:
        return False
    told = any(words in str(error).lower() for words in _MEMORY_WORDS)
    named = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return named or (told and isinstance(error, RuntimeError | OSError)) or is_out_of_memory(error.__cause__)


def ended(code: int, last_words: str) -> tuple[str, str, str]:
    """State, reason and hint of a process that ended with this code and without telling its own ending."""
    if code == -signal.SIGKILL:
        return "out-of-memory", "The system ended it, most likely because memory ran out.", MEMORY_HINT
    if code < 0:
        return "failed", f"A signal ended its process: {signal.strsignal(-code)}.", "The job's log may tell more."
    return "failed", f"Its process ended too early: {last_words}", "The job's log may tell more."


def follow_parent() -> None:
    """End this process as soon as its parent is gone, even if it was killed. Starts no thread."""
    if _leads_its_group():
        die_with(os.getppid())


def die_with_parent() -> None:
    """End this process and all that it started as soon as its parent is gone, even if it was killed."""

    def watch() -> None:
        while os.read(0, 1):
            pass
        os.killpg(0, signal.SIGKILL)

    if _leads_its_group():
        threading.Thread(target=watch, daemon=True).start()


def die_before_others() -> None:
    """Where memory runs out, Linux shall end this process rather than the dashboard."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def _leads_its_group() -> bool:
    """As its parent starts it; nobody else's process or group may be killed."""
    return os.getpgrp() == os.getpid()


def _work(queue: Queue, job: Job, run: Callable[..., RunRecord] | None) -> str | None:
    """The id of the record that it made; an export makes a file instead."""
    run, listener = run or experiment(), _listener(queue, job.id)
    die_with_parent()
    if job.kind == "export":
        from dit_core.outputs import export_archive  # loads torch

        export_archive(job.spec, queue.archive(job), listener)
        return None
    return run(job.spec, store=Store(), listener=listener, again=job.again).run_id


def _listener(queue: Queue, job_id: int) -> Listener:
    """Progress and previews into the queue. A full disk costs the progress, not the run."""
    folder, written, asked = queue.folder(job_id), {"": 0.0}, {"at": 0.0, "answer": False}

    def progress(stage: str, step: int, of: int) -> None:
        now, name = time.monotonic(), stage.partition(" ")[0]  # a training's stage also tells its loss
        if name not in written or step >= of or now - written[name] >= _EVERY_S:
            written[name] = now
            with suppress(QueueError):
                queue.progress(job_id, stage, step, of)

    def preview(which: str, png: bytes) -> None:
        with suppress(OSError):
            _replace(folder / f"{which}.png", png)

    def cancelled() -> bool:
        now = time.monotonic()
        if not asked["answer"] and now - asked["at"] >= _EVERY_S:
            asked["at"] = now
            with suppress(QueueError):
                job = queue.get(job_id)
                asked["answer"] = job is None or job.cancelling or not job.active
        return bool(asked["answer"])

    return Listener(progress, preview, cancelled)


def _replace(path: Path, data: bytes) -> None:
    """A reader sees the old file or the new one, never half of one."""
    temporary = path.with_name(f".{secrets.token_hex(4)}.tmp")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
