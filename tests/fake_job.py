"""A worker's child with a fake experiment, chosen by the spec's model: `python -m tests.fake_job <id>`.

COMMAND is for `Worker(queue, COMMAND)`; `python -m tests.fake_job` without an id is a whole worker of such children.
"""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time

from dit_core import child, worker
from dit_core.environment import environment
from dit_core.errors import BadRequest, Cancelled
from dit_core.listener import Listener
from dit_core.spec import RunRecord, RunSpec
from dit_core.store import Store
from tests.factory import make_record, make_sheets

COMMAND = (sys.executable, "-u", "-m", "tests.fake_job")


def quick(spec: RunSpec, store: Store, listener: Listener, again: bool) -> RunRecord:
    for which in ("baseline", "candidate"):
        for step in range(1, spec.steps + 1):
            listener.progress(which, step, spec.steps)
        listener.preview(which, make_sheets()[which])
    record = make_record(spec, environment=environment(spec.device))
    store.put(record, make_sheets(record), again=again)
    return record


def emoji(spec: RunSpec, store: Store, listener: Listener, again: bool) -> RunRecord:
    """The bundled model, as the form names it: forms both sides step by step, and stops when asked."""
    for which in ("baseline", "candidate"):
        listener.preview(which, make_sheets()[which])
        for step in range(1, spec.steps + 1):
            if listener.cancelled():
                raise Cancelled
            listener.progress(which, step, spec.steps)
            time.sleep(0.02)
    return quick(spec, store, listener, again)


def polite(spec: RunSpec, store: Store, listener: Listener, again: bool) -> RunRecord:
    while not listener.cancelled():
        listener.progress("baseline", 1, 1000)
        time.sleep(0.01)
    raise Cancelled


def deaf(spec: RunSpec, store: Store, listener: Listener, again: bool) -> RunRecord:
    """Hangs, with a descendant that left the process group and ignores SIGTERM."""
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
    runaway = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    print(f"runaway {runaway.pid}")
    listener.progress("baseline", 1, 2)
    while True:
        time.sleep(1)


def lingering(spec: RunSpec, store: Store, listener: Listener, again: bool) -> RunRecord:
    """Ends well, but a thread keeps its process."""
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
    """What a CUDA allocator raises, where there may be no CUDA."""
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


def _fake(spec: RunSpec, **rest: object) -> RunRecord:
    return globals()[spec.model](spec, **rest)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        child.main(_fake)
    else:
        worker.main(COMMAND)
