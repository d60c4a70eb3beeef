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
from dit_core.models.sources import load_model
from dit_core.recipes.recipe import Recipe
from dit_core.records.record import RunRecord
from dit_core.records.spec import RunSpec
from dit_core.records.store import Store
from dit_core.sampling.config import SamplingConfig
from dit_core.sampling.loop import generate
from dit_core.system.environment import environment
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


def drawn(spec: RunSpec, out: Path | None) -> outcome.Ending:
    """Draw an image with the spec's model, and leave a record of the environment and the weights that drew it.

    With seeds from 100 on, a run on the node that TEST_NODE_TO_KILL names waits to be killed.
    """
    try:
        node = os.environ.get("TEST_NODE", "")
        _trace(f"{node} {spec.seed} {os.getpid()}")
        if spec.seed >= 100 and node == os.environ.get("TEST_NODE_TO_KILL"):
            time.sleep(600)
        generate(load_model(spec.model), [0], seed=spec.seed, sampling=SamplingConfig("ddim", 1, 1.0))
        weights = Recipe.of(spec).weights_digest(spec.model)
        record = make_record(spec, environment={**environment(spec.device), "weights": weights, "node": node})
        Store(out).put(record, make_sheets(record), again=True, local=out is None)
    except Exception as error:
        return outcome.of_error(error)
    return outcome.Ending("done")


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
    _trace(str(_starter()))
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("unreachable")


def orphaned(spec: RunSpec, **rest: object) -> RunRecord:
    """Loses the process that started it, as on a node whose worker is killed."""
    _trace(str(_starter()))
    os.kill(_starter(), signal.SIGKILL)
    time.sleep(600)
    raise AssertionError("unreachable")


def _trace(line: str) -> None:
    """Add a line to the file that FAKE_RUN_TRACE names."""
    with Path(os.environ.get("FAKE_RUN_TRACE", os.devnull)).open("a") as file:
        file.write(f"{line}\n")


def failing_environment(device: str) -> None:
    """Instead of the environment of a node, an error."""
    raise KeyError(device)


def leaving(spec: RunSpec, **rest: object) -> RunRecord:
    os._exit(3)


def _starter() -> int:
    parent = multiprocessing.parent_process()
    assert parent is not None
    return parent.pid  # type: ignore[return-value]
