"""A sweep over the machines of a Ray cluster. Ray is optional: see `dit_core/requirements-cluster.txt`.

A task measures one run in a fresh process and returns the record and its pictures as bytes: only the process that
sweeps writes the store. Nothing is run again by itself; a worker that dies is a failure like any other. A run has a
node's processors to itself, or one GPU with its share of them. Every node has this project where Ray's workers find it.
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dit_core import trajectories
from dit_core.errors import BadRequest
from dit_core.search import apart, known
from dit_core.search.apart import Outcome
from dit_core.search.sweeps import Ended, Place, time_left
from dit_core.spec import RecordError, RunRecord, RunSpec
from dit_core.store import SHEETS, Store, Stored

LOCAL = "local"  # the address that starts a Ray on this machine


@contextmanager
def connected(
    address: str = LOCAL, *, limit_s: float = apart.LIMIT_S, command: Sequence[str] = apart.COMMAND
) -> Iterator[Place]:
    """The cluster at an address as a place to sweep on; raises BadRequest where Ray or the cluster is not there."""
    try:
        import ray
    except ImportError as error:
        raise BadRequest("Ray is not installed: pip install -r dit_core/requirements-cluster.txt.") from error
    ours = not ray.is_initialized()
    if ours:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anybody
        try:
            ray.init(address=address, include_dashboard=False if address == LOCAL else None)
        except (ConnectionError, RuntimeError, ValueError) as error:
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise BadRequest(f"No Ray cluster can be used at {address}: {first}") from error
    try:
        yield Place(environments, lambda todo, out: _run(todo, out, limit_s, tuple(command)))
    finally:
        if ours:
            ray.shutdown()


def environments(specs: Iterable[RunSpec]) -> set[str]:
    """Fingerprints of the nodes that these runs would be measured on."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    asked = []
    for device in sorted({spec.device for spec in specs}):
        nodes, needs = demand(device, _nodes())
        for node in nodes:
            there = {**needs, "scheduling_strategy": NodeAffinitySchedulingStrategy(node, soft=False)}
            asked.append(_task(fingerprint_there, there).remote(device))
    return set(filter(None, ray.get(asked)))


def demand(device: str, nodes: dict[str, dict[str, float]]) -> tuple[list[str], dict[str, int]]:
    """Which nodes can measure on a device, and what a task asks of Ray so that no other disturbs it there.

    On a CPU it asks for all processors of the largest nodes: smaller ones are left out, and figures stay alike.
    """
    if device == "cuda":
        fit = {node: has for node, has in nodes.items() if has.get("GPU", 0) >= 1}
        if not fit:
            raise BadRequest("No node of this Ray cluster has a GPU: use device cpu in the grid.")
        return list(fit), {
            "num_gpus": 1,
            "num_cpus": max(1, min(int(has["CPU"] // has["GPU"]) for has in fit.values())),
        }
    most = max((int(has.get("CPU", 0)) for has in nodes.values()), default=0)
    if not most:
        raise BadRequest("No node of this Ray cluster offers a CPU: start one with --num-cpus.")
    return [node for node, has in nodes.items() if int(has.get("CPU", 0)) == most], {"num_gpus": 0, "num_cpus": most}


def fingerprint_there(device: str) -> str | None:
    """What a task tells of its node."""
    return known.fingerprint(device)


def measure_there(spec: dict[str, Any], limit_s: float, command: tuple[str, ...]) -> dict[str, Any]:
    """What a task does on its node: the outcome, and what the run left, as bytes.

    Ray tells OpenMP to use one thread; a run uses all processors that it may, and its record says how many.
    """
    with tempfile.TemporaryDirectory(prefix="dit-core-") as folder:
        store, threads = Store(Path(folder)), len(os.sched_getaffinity(0))
        outcome = apart.measure(RunSpec.from_dict(spec), store.root, limit_s=limit_s, threads=threads, command=command)
        left: dict[str, Any] = {"outcome": asdict(outcome)}
        if stored := store.get(RunSpec.from_dict(spec).run_id):
            drawn = trajectories.read(stored)
            left["record"] = stored.record.to_json().encode()
            left["sheets"] = {which: data for which in SHEETS if (data := store.sheet(stored, which))}
            left["trajectory"] = drawn.webp if drawn else None
        return left


def _run(todo: Sequence[RunSpec], out: Path | None, limit_s: float, command: tuple[str, ...]) -> Ended:
    """All runs as tasks, each told as soon as it has ended."""
    import ray
    from ray.exceptions import RayError

    store, nodes, started = Store(out), _nodes(), time.monotonic()
    tasks = {device: _task(measure_there, demand(device, nodes)[1]) for device in {spec.device for spec in todo}}
    waiting = {tasks[spec.device].remote(spec.to_dict(), limit_s, command): spec for spec in todo}
    while waiting:
        (ended,), _ = ray.wait(list(waiting), num_returns=1)
        spec = waiting.pop(ended)
        try:
            outcome = _keep(ray.get(ended), store, local=out is None)
        except RayError as error:
            outcome = Outcome("failed", _reason(error))
        left = time_left(time.monotonic() - started, len(todo) - len(waiting), len(todo))
        words = f"{outcome.state}: {spec.label()}"
        print(", ".join(filter(None, [words, left])), file=sys.stderr, flush=True)
        yield spec, outcome


def _keep(left: dict[str, Any], store: Store, *, local: bool) -> Outcome:
    """Put what a task left into the store; the outcome of the run."""
    outcome = Outcome(**left["outcome"])
    if not outcome.done:
        return outcome
    try:
        record = RunRecord.from_dict(json.loads(left["record"]))
    except (KeyError, RecordError) as error:
        return Outcome("failed", f"It left no record that can be trusted: {error}", outcome.seconds)
    path = store.put(record, left["sheets"], local=local, again=True)
    if left["trajectory"]:
        trajectories.write(Stored(record, "local" if local else "bundled", path), left["trajectory"])
    return outcome


def _task(function: Callable[..., Any], needs: dict[str, Any]) -> Any:
    """That function as a task of Ray's: in a worker that ends with it, and never a second time."""
    import ray

    fresh: Any = ray.remote(max_retries=0, max_calls=1)
    return fresh(function).options(**needs)


def _nodes() -> dict[str, dict[str, float]]:
    """Resources of the living nodes by their ids."""
    import ray

    return {node["NodeID"]: node["Resources"] for node in ray.nodes() if node["Alive"]}


def _reason(error: Exception) -> str:
    """One line: of an error within a task the error itself, else what Ray says of the worker."""
    told = getattr(error, "cause", None) or error
    return f"{type(told).__name__}: {(str(told).strip().splitlines() or [''])[0][:300]}".rstrip(": ")
