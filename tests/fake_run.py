"""The process of one run with a fake experiment, chosen by the spec's model: `python -m tests.fake_run ORDER`.

COMMAND is for `apart.measure(spec, command=COMMAND)`.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from dit_core.errors import BadRequest
from dit_core.listener import Listener
from dit_core.search import one
from dit_core.spec import RunRecord, RunSpec
from dit_core.store import Store
from tests.factory import make_record, make_sheets

COMMAND = (sys.executable, "-m", "tests.fake_run")


def emoji(spec: RunSpec, store: Store, listener: Listener, again: bool, local: bool) -> RunRecord:
    print("a library talks")
    record = make_record(spec, environment={"omp_num_threads": os.environ.get("OMP_NUM_THREADS")})
    store.put(record, make_sheets(record), again=again, local=local)
    return record


def hanging(spec: RunSpec, store: Store, **rest: object) -> RunRecord:
    """Hangs, with a descendant that left the process group and ignores SIGTERM."""
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
    runaway = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    store.root.mkdir(exist_ok=True)
    (store.root / "pids").write_text(f"{os.getpid()} {runaway.pid}")
    while True:
        time.sleep(1)


def refused(spec: RunSpec, **rest: object) -> RunRecord:
    raise BadRequest("keep must be at most 8, got 9.")


def greedy(spec: RunSpec, **rest: object) -> RunRecord:
    bytearray(1 << 62)
    raise AssertionError("that much memory does not exist")


def broken(spec: RunSpec, **rest: object) -> RunRecord:
    return {}["nothing"]


def killed(spec: RunSpec, **rest: object) -> RunRecord:
    _trace()
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("unreachable")


def orphaned(spec: RunSpec, **rest: object) -> RunRecord:
    """Loses the process that started it, as on a node whose worker is killed."""
    _trace()
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(600)
    raise AssertionError("unreachable")


def _trace() -> None:
    """One line for each start, in the file that FAKE_RUN_TRACE names."""
    with Path(os.environ.get("FAKE_RUN_TRACE", os.devnull)).open("a") as file:
        file.write(f"{os.getppid()}\n")


def leaving(spec: RunSpec, **rest: object) -> RunRecord:
    os._exit(3)


def _fake(spec: RunSpec, **rest: object) -> RunRecord:
    return globals()[spec.model](spec, **rest)


if __name__ == "__main__":
    one.main(_fake)
