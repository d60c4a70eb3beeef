"""The worker: the only process that uses the device. It runs the jobs of a queue one by one, each in a new process.

It imports no torch. A worker that a dashboard started serves all dashboards of the queue and ends when none is left
and no job waits. A lock on a file in the queue's folder keeps a second worker out. However a worker ends, the system
releases its lock and its job's process ends too; the next worker ends processes and jobs that are left over.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from dit_core.errors import BadRequest
from dit_core.experiment.known import current_record_id
from dit_core.experiment.outcome import EXPERIMENT, Ending, of_failure
from dit_core.jobs.job import ACTIVE, Job
from dit_core.jobs.queue import Queue, QueueError
from dit_core.jobs.runner import JobEnding, run_job
from dit_core.records.places import results_root
from dit_core.system import causes, devices, isolation
from dit_core.system.hardware import available_bytes
from dit_core.system.lock import Lock
from dit_core.system.processes import MARK, SIGKILL, end_family

WHILE_SERVED = "--while-served"
WORKER = (sys.executable, "-m", "dit_core.jobs.worker", WHILE_SERVED)
SERVERS_FILE = "servers.lock"  # every dashboard of the queue shares this lock
UNSERVED_S = 5.0  # without a job and a dashboard, until a worker that a dashboard started ends
NEEDED_BYTES, SHORT_BYTES = 4 << 30, 3 << 30  # available memory from which a fork server is started, or ended
PAUSE_S = 300.0  # until a fork server that ended is started again: the cause may still be there
T = TypeVar("T")
_HOME = Path(__file__).resolve().parents[2]
_RETRY_S = 2.0


class _MustEnd(Exception):
    """The running job's process must end now, with this ending."""

    def __init__(self, *ending: str) -> None:
        super().__init__()
        self.ending = Ending(*ending)


@dataclass(frozen=True)
class WorkerState:
    """Whether a worker lives, its process, the running job, and when the worker started (Unix seconds)."""

    alive: bool
    pid: int | None = None
    job: int | None = None
    since: float | None = None


def main(
    function: Callable[[int], JobEnding] = run_job, *, preload: str = EXPERIMENT, while_served: bool = False
) -> None:
    """Work on the default queue until SIGTERM or SIGINT; with `while_served`, also end when nobody needs a worker.

    Raises BadRequest if another worker has the queue.
    """
    worker = Worker(Queue(), function, preload=preload, while_served=while_served)
    os.environ[MARK] = str(worker.queue.root)  # so that the next worker finds what this one may leave behind
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: worker.stop())
    threading.Thread(target=devices.learn, kwargs={"again": True}, daemon=True).start()
    worker.run()


def ensure_worker(queue: Queue) -> None:
    """Start a worker unless one lives; it outlives the caller. Cheap enough to call whenever a job waits or runs.

    If several callers start one at the same moment, one worker gets the lock and the others end.
    """
    if worker_state(queue).alive:
        return
    environment = {**os.environ, **_folders(queue)}
    try:
        with (queue.root / "worker.log").open("ab") as log:
            subprocess.Popen(
                WORKER,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=_HOME,
                env=environment,
                start_new_session=True,  # it outlives the terminal of its starter
            )
    except OSError as error:
        raise QueueError(f"No worker could be started, because {causes.cause_of(error)}.") from error


@contextmanager
def serving(queue: Queue) -> Iterator[None]:
    """Mark this process as a dashboard of a queue, so that the worker waits for jobs. Raises QueueError."""
    with closing(_lock(queue, SERVERS_FILE)) as lock:
        lock.share()
        yield


def is_served(queue: Queue) -> bool:
    """Whether a dashboard of this queue runs."""
    with closing(_lock(queue, SERVERS_FILE)) as lock:
        return lock.is_held()


def stop_worker(queue: Queue, wait_s: float = 15.0) -> None:
    """End the worker and its running job, which fails with that reason; waiting jobs go on waiting."""
    for number, patience_s in ((signal.SIGTERM, wait_s), (SIGKILL, 5.0)):
        state = worker_state(queue)
        if state.pid is None:
            return
        with suppress(ProcessLookupError):
            os.kill(state.pid, number)
        until = time.monotonic() + patience_s
        while worker_state(queue).pid == state.pid and time.monotonic() < until:
            time.sleep(0.05)


def worker_state(queue: Queue) -> WorkerState:
    """The state of this queue's worker now."""
    with closing(_lock(queue)) as lock:
        holder = lock.holder()
    if holder is None:
        return WorkerState(False)
    job = queue.running()
    return WorkerState(True, holder.get("pid"), job.id if job else None, holder.get("since"))


class Worker:
    """Runs jobs in the order of the queue until `stop`: `function(job_id)` in a new process for each.

    After `rest_s` without a job it starts a fork server that imports `preload`, so that the next job starts at once.
    """

    def __init__(
        self,
        queue: Queue,
        function: Callable[[int], JobEnding] = run_job,
        *,
        preload: str = EXPERIMENT,
        poll_s: float = 0.25,
        grace_s: float = 10.0,
        rest_s: float = 15.0,
        while_served: bool = False,
        unserved_s: float = UNSERVED_S,
    ) -> None:
        self.queue, self.function, self.preload = queue, function, preload
        self.poll_s, self.grace_s, self.rest_s = poll_s, grace_s, rest_s
        self.while_served, self.unserved_s = while_served, unserved_s
        self._warmed_at = -PAUSE_S
        self._stop = False  # not an Event: setting one in a signal handler can deadlock

    def stop(self) -> None:
        """End the running job's processes, then `run`. Safe in a signal handler and from another thread."""
        self._stop = True

    def run(self) -> None:
        """Hold the lock and work. Raises BadRequest if another worker holds it."""
        with closing(_lock(self.queue)) as self._lock:
            if not self._lock.take():
                raise BadRequest(f"Another worker works on {self.queue.root}: stop it first.")
            end_family(str(self.queue.root))
            self._insist(self.queue.recover)
            try:
                with self.queue.held_open():
                    self._work()
            finally:
                isolation.stop()

    def _work(self) -> None:
        """Run jobs as they come. The fork server is started while no job runs."""
        idle_since = time.monotonic()
        while not self._stopped(self.poll_s):
            if job := self._insist(lambda: self.queue.claim(current_record_id)):
                self._run(job)
                idle_since = time.monotonic()
            elif self._is_needless(time.monotonic() - idle_since):
                return
            elif time.monotonic() - idle_since >= self.rest_s:
                self._keep_warm()

    def _is_needless(self, idle_s: float) -> bool:
        """Whether a dashboard started this worker, no dashboard is left and no job waits."""
        if not self.while_served or idle_s < self.unserved_s:
            return False
        with suppress(QueueError):
            return not is_served(self.queue) and not self.queue.count(*ACTIVE)
        return False

    def _keep_warm(self) -> None:
        """Keep a fork server while memory allows it."""
        free_bytes = available_bytes()
        if isolation.is_warm(self.preload):
            if free_bytes < SHORT_BYTES:
                isolation.stop()
        elif free_bytes >= NEEDED_BYTES and time.monotonic() - self._warmed_at >= PAUSE_S:
            self._warmed_at = time.monotonic()
            isolation.warm(self.preload)

    def _run(self, job: Job) -> None:
        """Run one job to its end and write its ending to the queue."""
        cancelled_at: float | None = None
        run_id = None

        def watch() -> None:
            nonlocal cancelled_at
            now = time.monotonic()
            if self._must_stop():
                self._insist(lambda: self.queue.put_back(job.id))
                raise _MustEnd("failed", "The worker was stopped while this job ran.", "Submit it again.")
            if cancelled_at is None and self._is_cancelled(job):
                cancelled_at = now
            if cancelled_at is not None and now - cancelled_at > self.grace_s:
                raise _MustEnd("cancelled", "Cancelled; it did not stop by itself and was ended.")

        isolation.warm(self.preload)  # so that neither the job nor the processes that it starts need to import
        try:
            ending, run_id = isolation.run(
                self.function,
                job.id,
                limit_s=job.time_limit_s,
                watch=watch,
                poll_s=self.poll_s,
                log=self.queue.folder(job.id) / "log.txt",
                environment=_folders(self.queue),
            )
        except _MustEnd as error:
            ending = error.ending
        except isolation.Failed as error:
            ending = of_failure(error, job.time_limit_s)
        except OSError as error:
            ending = Ending(
                "failed",
                f"Its process could not be started, because {causes.cause_of(error)}.",
                "Free some memory or disk.",
            )
        self._warmed_at = -PAUSE_S
        state, reason, hint = ending
        self._insist(lambda: self.queue.finish(job.id, state, reason=reason, hint=hint, run_id=run_id))

    def _is_cancelled(self, job: Job) -> bool:
        with suppress(QueueError):
            current = self.queue.get(job.id)
            return current is None or current.cancelling or not current.active
        return False

    def _stopped(self, wait_s: float) -> bool:
        """Wait, then return whether this worker must end."""
        time.sleep(wait_s)
        return self._must_stop()

    def _must_stop(self) -> bool:
        """Whether `stop` was called or the lock no longer excludes other workers."""
        return self._stop or self._lock.lost()

    def _insist(self, action: Callable[[], T]) -> T | None:
        """Repeat an action until the queue can be used: a full disk must not leave a job running forever."""
        while True:
            try:
                return action()
            except QueueError as error:
                with suppress(OSError):
                    print(error, file=sys.stderr, flush=True)
            if self._stopped(_RETRY_S):
                return None


def _folders(queue: Queue) -> dict[str, str]:
    """Environment variables for a process on the same queue and results as this one."""
    return {"DIT_QUEUE": str(queue.root), "DIT_RESULTS": str(results_root())}


def _lock(queue: Queue, name: str = "worker.lock") -> Lock:
    try:
        return Lock(queue.root / name)
    except OSError as error:
        raise QueueError(f"The worker's lock in {causes.not_written(queue.root, error, causes.QUEUE)}") from error


if __name__ == "__main__":
    try:
        main(while_served=WHILE_SERVED in sys.argv)
    except (BadRequest, QueueError) as error:
        raise SystemExit(str(error)) from None
