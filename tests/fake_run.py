"""Runs of a sweep with a fake experiment, chosen by the spec's model: `isolated_run.measure(spec, function=run)`."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from dit_core.errors import BadRequest
from dit_core.experiment import outcome
from dit_core.records.record import RunRecord
from dit_core.records.spec import RunSpec
from dit_core.records.store import Store
from tests.factory import make_record, make_sheets


def run(spec: RunSpec, out: Path | None) -> outcome.Ending:
    try:
        globals()[spec.model](spec, store=Store(out), again=True, local=out is None)
    except Exception as error:
        return outcome.of_error(error)
    return outcome.Ending("done")


def emoji(spec: RunSpec, store: Store, again: bool, local: bool) -> RunRecord:
    print("a library talks")
    record = make_record(spec, environment={"omp_num_threads": os.environ.get("OMP_NUM_THREADS")})
    store.put(record, make_sheets(record), again=again, local=local)
    return record


def hanging(spec: RunSpec, store: Store, **rest: object) -> RunRecord:
    """Hangs, with a descendant in another session that ignores SIGTERM."""
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
    os.kill(_starter(), signal.SIGKILL)
    time.sleep(600)
    raise AssertionError("unreachable")


def _trace() -> None:
    """Add a line with the process that started this one to the file that FAKE_RUN_TRACE names."""
    with Path(os.environ.get("FAKE_RUN_TRACE", os.devnull)).open("a") as file:
        file.write(f"{_starter()}\n")


def leaving(spec: RunSpec, **rest: object) -> RunRecord:
    os._exit(3)


def _starter() -> int:
    parent = multiprocessing.parent_process()
    assert parent is not None
    return parent.pid  # type: ignore[return-value]
