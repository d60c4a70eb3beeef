"""Jobs with a fake experiment, chosen by the spec's model, for `Worker(queue, run_job, preload="tests.fake_job")`.

`python -m tests.fake_job` is a whole worker of such jobs.
"""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from typing import Any

from dit_core.errors import BadRequest, Cancelled
from dit_core.jobs import runner, worker
from dit_core.listener import Listener
from dit_core.records.record import RunRecord
from dit_core.records.spec import RunSpec
from dit_core.records.store import Store
from dit_core.system import devices
from dit_core.system.environment import environment
from tests.factory import make_record, make_sheets

ENDLESS = 1000


def quick(spec: RunSpec, store: Store, listener: Listener, again: bool) -> RunRecord:
    for which in ("baseline", "candidate"):
        for step in range(1, spec.steps + 1):
            listener.progress(which, step, spec.steps)
        listener.preview(which, make_sheets()[which])
    record = make_record(spec, environment=_environment(spec.device))
    store.put(record, make_sheets(record), again=again)
    return record


def _environment(device: str) -> dict[str, Any]:
    """The environment here; with a GPU that only a driver of tests knows, that of a machine with such a GPU."""
    gpu = devices.find(device)
    if device == "cpu" or gpu is None:
        return environment(device)
    return {**environment(), "device": device, "gpu": gpu.name, "fingerprint": "a-gpu"}


def emoji(spec: RunSpec, store: Store, listener: Listener, again: bool) -> RunRecord:
    """The bundled model, as the form names it: forms both sides step by step, and stops when asked.

    A run of ENDLESS steps only ends when it is cancelled, however slow the machine of its test is.
    """
    for which in ("baseline", "candidate"):
        listener.preview(which, make_sheets()[which])
        for step in range(1, spec.steps + 1):
            if listener.cancelled():
                raise Cancelled
            listener.progress(which, step, spec.steps)
            time.sleep(0.02)
    while spec.steps >= ENDLESS:
        if listener.cancelled():
            raise Cancelled
        time.sleep(0.02)
    return quick(spec, store, listener, again)


def polite(spec: RunSpec, store: Store, listener: Listener, again: bool) -> RunRecord:
    while not listener.cancelled():
        listener.progress("baseline", 1, 1000)
        time.sleep(0.01)
    raise Cancelled


def deaf(spec: RunSpec, store: Store, listener: Listener, again: bool) -> RunRecord:
    """Hangs, with a descendant in another session that ignores SIGTERM."""
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
    runaway = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    print(f"runaway {runaway.pid}")
    listener.progress("baseline", 1, 2)
    while True:
        time.sleep(1)


def lingering(spec: RunSpec, store: Store, listener: Listener, again: bool) -> RunRecord:
    """Succeeds, but a thread keeps its process alive."""
    threading.Thread(target=time.sleep, args=(600,)).start()
    return quick(spec, store, listener, again)


def unlinked(spec: RunSpec, store: Store, listener: Listener, again: bool) -> RunRecord:
    """Killed between the record's temporary file and its name."""
    link = os.link

    def killing(source: object, target: object) -> None:
        if str(target).endswith(".json"):
            os.kill(os.getpid(), signal.SIGKILL)
        link(source, target)  # type: ignore[arg-type]

    os.link = killing  # type: ignore[assignment]
    return quick(spec, store, listener, again)


def bad_request(spec: RunSpec, store: Store, listener: Listener, again: bool) -> RunRecord:
    raise BadRequest("bits must be between 2 and 8, got 9.")


def broken(spec: RunSpec, store: Store, listener: Listener, again: bool) -> RunRecord:
    return {}["nothing"]


def greedy(spec: RunSpec, store: Store, listener: Listener, again: bool) -> RunRecord:
    bytearray(1 << 62)
    raise AssertionError("that much memory does not exist")


def device_full(spec: RunSpec, store: Store, listener: Listener, again: bool) -> RunRecord:
    """Raises what a CUDA allocator raises; needs no CUDA."""
    import torch

    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 64.00 GiB. GPU 0 has 1.00 GiB free.\nSee docs.")


def killed(spec: RunSpec, store: Store, listener: Listener, again: bool) -> RunRecord:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("unreachable")


def crashing(spec: RunSpec, store: Store, listener: Listener, again: bool) -> RunRecord:
    ctypes.string_at(0)
    raise AssertionError("unreachable")


def leaving(spec: RunSpec, store: Store, listener: Listener, again: bool) -> RunRecord:
    print("the driver is missing")
    os._exit(3)


def run_job(job_id: int) -> runner.JobEnding:
    return runner.run_job(job_id, _fake)


def _fake(spec: RunSpec, **rest: object) -> RunRecord:
    return globals()[spec.model](spec, **rest)


if __name__ == "__main__":
    from tests import fake_job  # not this __main__, which the jobs' processes do not have

    worker.main(fake_job.run_job, preload="tests.fake_job")
