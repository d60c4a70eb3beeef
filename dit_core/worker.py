"""The one process that owns the device: takes jobs from the queue, runs each in a fresh process, ends what must end.

It imports no torch. A lock on a file in the queue's folder keeps a second worker out. However a worker dies, its lock
is free at once and its child ends with it; the next worker ends what is left: orphans, and jobs marked as running.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeVar

from dit_core.child import SPARE, ended
from dit_core.errors import BadRequest
from dit_core.jobs import Job, Queue, QueueError
from dit_core.processes import MARK, Lock, end_marked
from dit_core.search.known import known_here
from dit_core.spare import Spare
from dit_core.store import results_root

WORKER = (sys.executable, "-m", "dit_core.worker")
CHILD = (sys.executable, "-u", "-m", "dit_core.child")
T = TypeVar("T")
Ending = tuple[str, str, str]  # state, reason, hint
_HOME = Path(__file__).resolve().parents[1]
_RETRY_S = 2.0


@dataclass(frozen=True)
class WorkerState:
    """Whether a worker lives, its process, the job that has the device, and since when it lives (Unix seconds)."""

    alive: bool
    pid: int | None = None
    job: int | None = None
    since: float | None = None


def main(command: Sequence[str] = CHILD) -> None:
    """Work on the default queue until SIGTERM or SIGINT. Raises BadRequest if another worker has it."""
    worker = Worker(Queue(), command)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: worker.stop())
    worker.run()


def ensure_worker(queue: Queue) -> None:
    """Start a worker unless one lives; it outlives the caller. Cheap enough to call whenever a job waits or runs.

    Callers at the same moment do no harm: of their workers one gets the lock and the others end.
    """
    if worker_state(queue).alive:
        return
    try:
        with (queue.root / "worker.log").open("ab") as log:
            _spawn(WORKER, queue, log, stdin=subprocess.DEVNULL)
    except OSError as error:
        raise QueueError(f"No worker could be started: {error}.") from error


def stop_worker(queue: Queue, wait_s: float = 15.0) -> None:
    """End the worker and its running job, which fails with that reason; jobs that wait go on waiting."""
    for number, patience_s in ((signal.SIGTERM, wait_s), (signal.SIGKILL, 5.0)):
        state = worker_state(queue)
        if state.pid is None:
            return
        with suppress(ProcessLookupError):
            os.kill(state.pid, number)
        until = time.monotonic() + patience_s
        while worker_state(queue).pid == state.pid and time.monotonic() < until:
            time.sleep(0.05)


def worker_state(queue: Queue) -> WorkerState:
    """Who works on this queue now."""
    with closing(_lock(queue)) as lock:
        holder = lock.holder()
    if holder is None:
        return WorkerState(False)
    job = queue.running()
    return WorkerState(True, holder.get("pid"), job.id if job else None, holder.get("since"))


class Worker:
    """Takes jobs in turn until `stop`. A job's command line is `command` and its id.

    After `rest_s` without a job it keeps a `Spare`.
    """

    def __init__(
        self,
        queue: Queue,
        command: Sequence[str] = CHILD,
        *,
        poll_s: float = 0.25,
        grace_s: float = 10.0,
        rest_s: float = 15.0,
    ) -> None:
        self.queue, self.command, self.poll_s, self.grace_s, self.rest_s = queue, command, poll_s, grace_s, rest_s
        self._spare = Spare(queue, lambda log: self._start(SPARE, log))
        self._stop = False  # not an Event: setting one in a signal handler can deadlock

    def stop(self) -> None:
        """End the running job's processes, then `run`. Safe in a signal handler and from another thread."""
        self._stop = True

    def run(self) -> None:
        """Hold the lock and work. Raises BadRequest if another worker holds it."""
        with closing(_lock(self.queue)) as self._lock:
            if not self._lock.take():
                raise BadRequest(f"Another worker works on {self.queue.root}: stop it first.")
            end_marked(str(self.queue.root))
            self._insist(self.queue.recover)
            try:
                with self.queue.held_open():
                    self._take_turns()
            finally:
                self._spare.end()

    def _take_turns(self) -> None:
        """Work on jobs as they come. What a spare costs is paid while nothing runs."""
        idle_since = time.monotonic()
        while not self._stopped(self.poll_s):
            if job := self._insist(lambda: self.queue.claim(known_here)):
                self._work(job)
                idle_since = time.monotonic()
            elif time.monotonic() - idle_since >= self.rest_s:
                self._spare.keep()

    def _work(self, job: Job) -> None:
        """Run one job to its end. If its child has written an ending already, that one stands."""
        try:
            log = self.queue.folder(job.id) / "log.txt"
            if (child := self._spare.take(job, log)) is None:
                with log.open("ab") as out:
                    child = self._start(str(job.id), out)
        except OSError as error:
            self._finish(job, ("failed", f"Its process could not be started: {error}.", "Free some memory or disk."))
            return
        with child:
            try:
                ending = self._watch(child, job)
            finally:
                self._end(child)
            self._finish(job, ending or ended(child.returncode, _last_line(log)))

    def _start(self, what: str, log: IO[bytes]) -> subprocess.Popen:
        """A child for the job of this id, or for any to come."""
        return _spawn([*self.command, what], self.queue, log, stdin=subprocess.PIPE, mark=True)

    def _watch(self, child: subprocess.Popen, job: Job) -> Ending | None:
        """Wait for the child. None if it ended by itself, otherwise why it must be ended now."""
        started, leaving = time.monotonic(), None
        while child.poll() is None:
            if self._stopped(self.poll_s):
                self._insist(lambda: self.queue.put_back(job.id))
                return "failed", "The worker was stopped while this job ran.", "Submit it again."
            now = time.monotonic()
            if now - started > job.time_limit_s:
                reason = f"It ran longer than its limit of {job.time_limit_s:g} s."
                return "timed-out", reason, "Choose fewer steps or samples, or a longer limit."
            if leaving is None and self._should_leave(job):
                leaving = now
            if leaving is not None and now - leaving > self.grace_s:
                return "cancelled", "Cancelled; it did not stop by itself and was ended.", ""
        return None

    def _should_leave(self, job: Job) -> bool:
        """Its cancellation was asked for, or it has written its ending and only its process lingers."""
        with suppress(QueueError):
            current = self.queue.get(job.id)
            return current is None or current.cancelling or not current.active
        return False

    def _stopped(self, wait_s: float) -> bool:
        """Wait; True as soon as this worker must end, also when its lock no longer keeps others out."""
        time.sleep(wait_s)
        return self._stop or self._lock.lost()

    def _end(self, child: subprocess.Popen) -> None:
        """End the child, if it still lives, and whatever it started."""
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
        end_marked(str(self.queue.root))

    def _finish(self, job: Job, ending: Ending) -> None:
        state, reason, hint = ending
        self._insist(lambda: self.queue.finish(job.id, state, reason=reason, hint=hint))

    def _insist(self, action: Callable[[], T]) -> T | None:
        """Repeat until the queue can be used: a full disk must not leave a job running for ever."""
        while True:
            try:
                return action()
            except QueueError as error:
                with suppress(OSError):
                    print(error, file=sys.stderr, flush=True)
            if self._stopped(_RETRY_S):
                return None


def _spawn(command: Sequence[str], queue: Queue, log: IO[bytes], stdin: int, *, mark: bool = False) -> subprocess.Popen:
    """A process in a session of its own, on the same queue and results as this one."""
    env = {**os.environ, "DIT_QUEUE": str(queue.root), "DIT_RESULTS": str(results_root())}
    if mark:
        env[MARK] = str(queue.root)
    return subprocess.Popen(command, stdin=stdin, stdout=log, stderr=log, cwd=_HOME, env=env, start_new_session=True)


def _lock(queue: Queue) -> Lock:
    try:
        return Lock(queue.root / "worker.lock")
    except OSError as error:
        raise QueueError(f"The worker's lock cannot be used: {error}.") from error


def _last_line(log: Path) -> str:
    lines: list[str] = []
    with suppress(OSError), log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 1000))
        lines = file.read().decode(errors="replace").splitlines()
    return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "it left no word.")


if __name__ == "__main__":
    try:
        main()
    except (BadRequest, QueueError) as error:
        raise SystemExit(str(error)) from None
