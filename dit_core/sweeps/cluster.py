"""A sweep over the machines of a Ray cluster. Ray is optional: see `dit_core/sweeps/requirements-cluster.txt`.

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
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dit_core.errors import BadRequest
from dit_core.experiment import known, trajectories
from dit_core.recipes.naming import file_name
from dit_core.records.record import RecordError, RunRecord
from dit_core.records.spec import RunSpec
from dit_core.records.store import SHEETS, Store, Stored, StoreError
from dit_core.sweeps import isolated_run
from dit_core.sweeps.grid_sweep import Ended, Place, time_left
from dit_core.sweeps.isolated_run import Outcome, RunFunction
from dit_core.system import devices
from dit_core.system.hardware import usable_cores

LOCAL = "local"  # the address that starts a cluster on this machine
LOOK_S = 30.0  # between two looks whether a node is left that can take the runs that wait
NO_NODE = "No node is left in the cluster that can take this run: start one, and repeat the sweep."
TOLD = ("cpu", "gpu", "threads", "python", "torch", "torchao", "diffusers", "driver")  # in which environments differ


@contextmanager
def connected(
    address: str = LOCAL, *, limit_s: float = isolated_run.LIMIT_S, function: RunFunction = isolated_run.run_here
) -> Iterator[Place]:
    """Connect to the cluster at an address as a place for sweeps. Raises BadRequest if there is no Ray or cluster."""
    try:
        import ray
    except ImportError as error:
        raise BadRequest("Ray is not installed: pip install -r dit_core/sweeps/requirements-cluster.txt.") from error
    ours = not ray.is_initialized()
    if ours:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # send no usage statistics
        os.environ.setdefault("RAY_worker_niceness", "0")  # Ray's 15 gives way to every other program while one times
        try:
            ray.init(address=address, include_dashboard=False if address == LOCAL else None)
        except (ConnectionError, RuntimeError, ValueError) as error:
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise BadRequest(f"No Ray cluster can be used at {address}: {first}") from error
    try:
        yield Place(environments, lambda todo, out: _run(todo, out, limit_s, function))
    finally:
        if ours:
            ray.shutdown()


def environments(specs: Iterable[RunSpec]) -> set[str]:
    """Return the fingerprints of the nodes that can measure these runs. Says in one line if there are several.

    A node that gives no answer, because it is lost or lacks this project, is named in one line and left out.
    """
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    asked: dict[str, Any] = {}
    for device in sorted({spec.device for spec in specs}):
        nodes, needs = demand(device, _nodes())
        for node in nodes:
            there = {**needs, "scheduling_strategy": NodeAffinitySchedulingStrategy(node, soft=False)}
            asked[f"{node} ({device})"] = _task(environment_there, there).remote(device)
    found = {each["fingerprint"]: each for name, task in asked.items() if (each := _answer(name, task))}
    if len(found) > 1:
        print(_differences(list(found.values())), file=sys.stderr, flush=True)
    return set(found)


def _answer(node: str, task: Any) -> Any:
    """Return what a task returns; None, with one line that says why, if the node or the task fails."""
    import ray
    from ray.exceptions import RayError

    try:
        return ray.get(task)
    except RayError as error:
        print(f"Node {node} gives no answer: {_reason(error)}", file=sys.stderr, flush=True)
        return None


def _differences(environments: Sequence[dict[str, Any]]) -> str:
    """Return in one line in what the environments of nodes differ."""
    varied = [name for name in TOLD if len({str(each.get(name)) for each in environments}) > 1]
    each = [", ".join(f"{name} {own.get(name)}" for name in varied) or own["fingerprint"] for own in environments]
    return (
        f"The nodes have {len(environments)} environments ({'; '.join(each)}). A run is measured in one of them, and "
        "pages and tables compare only within one."
    )


def demand(device: str, nodes: dict[str, dict[str, float]]) -> tuple[list[str], dict[str, int]]:
    """Return the nodes that can measure on a device, and the resources that a task reserves so that it runs alone.

    On a CPU a task reserves all processors of one of the largest nodes. Smaller nodes are not used, because their
    figures would differ.
    """
    if devices.kind(device) == "cuda":
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


def environment_there(device: str) -> dict[str, Any] | None:
    """Return the environment of the node that runs this task; None if it has no such device."""
    return known.local_environment(device)


def measure_there(spec: dict[str, Any], limit_s: float, function: RunFunction) -> dict[str, Any]:
    """The work of a task on its node: the outcome of the run, and its record and pictures as bytes."""
    os.environ["OMP_NUM_THREADS"] = str(usable_cores())  # Ray sets it to 1, but a run uses all processors that it may
    with tempfile.TemporaryDirectory(prefix="dit-core-") as folder:
        store = Store(Path(folder))
        outcome = isolated_run.measure(RunSpec.from_dict(spec), store.root, limit_s=limit_s, function=function)
        left: dict[str, Any] = {"outcome": asdict(outcome)}
        if stored := store.get(RunSpec.from_dict(spec).run_id):
            drawn = trajectories.read(stored)
            left["record"] = stored.record.to_json().encode()
            left["sheets"] = {which: data for which in SHEETS if (data := store.sheet(stored, which))}
            left["trajectory"] = drawn.webp if drawn else None
        return left


def _run(todo: Sequence[RunSpec], out: Path | None, limit_s: float, function: RunFunction) -> Ended:
    """Run all specs as tasks and yield each as soon as it has ended."""
    import ray
    from ray.exceptions import RayError

    store, nodes, started = Store(out), _nodes(), time.monotonic()
    needs = {device: demand(device, nodes)[1] for device in {spec.device for spec in todo}}
    tasks = {device: _task(measure_there, needs[device]) for device in needs}
    waiting = {tasks[spec.device].remote(spec.to_dict(), limit_s, function): spec for spec in todo}
    while waiting:
        ready, _ = ray.wait(list(waiting), num_returns=1, timeout=LOOK_S)
        ended = (
            ready[0] if ready else next((ref for ref, spec in waiting.items() if not _fits(needs[spec.device])), None)
        )
        if ended is None:
            continue
        spec = waiting.pop(ended)
        try:
            outcome = _keep(ray.get(ended), store, local=out is None) if ready else _given_up(ended)
        except RayError as error:
            outcome = Outcome("failed", _reason(error))
        left = time_left(time.monotonic() - started, len(todo) - len(waiting), len(todo))
        words = f"{outcome.state}: {spec.label()}"
        print(", ".join(filter(None, [words, left])), file=sys.stderr, flush=True)
        yield spec, outcome


def _fits(needs: dict[str, int]) -> bool:
    """Return whether a living node has the resources that a task reserves."""
    named = {"num_cpus": "CPU", "num_gpus": "GPU"}
    return any(all(has.get(named[name], 0) >= count for name, count in needs.items()) for has in _nodes().values())


def _given_up(task: Any) -> Outcome:
    """Cancel a task that no living node can take."""
    import ray

    ray.cancel(task)
    return Outcome("failed", NO_NODE)


def _keep(left: dict[str, Any], store: Store, *, local: bool) -> Outcome:
    """Put the record and pictures of a task into the store and return the outcome of its run."""
    outcome = Outcome(**left["outcome"])
    if not outcome.done:
        return outcome
    try:
        record = RunRecord.from_dict(json.loads(left["record"]))
    except (KeyError, RecordError) as error:
        return Outcome("failed", f"It left no record that can be trusted: {error}", outcome.seconds)
    try:
        path = store.put_or_keep(
            record, left["sheets"], name=file_name(record.spec["techniques"]), local=local, again=True
        )
    except StoreError as error:
        return Outcome("failed", str(error), outcome.seconds)
    if left["trajectory"]:
        with suppress(OSError):  # a full disk costs this picture, not the run
            trajectories.write(Stored(record, "local" if local else "bundled", path), left["trajectory"])
    return outcome


def _task(function: Callable[..., Any], needs: dict[str, Any]) -> Any:
    """Return a function as a Ray task that runs once, in a worker process that ends with it."""
    import ray

    fresh: Any = ray.remote(max_retries=0, max_calls=1)
    return fresh(function).options(**needs)


def _nodes() -> dict[str, dict[str, float]]:
    """Return the resources of the living nodes by node id."""
    import ray

    return {node["NodeID"]: node["Resources"] for node in ray.nodes() if node["Alive"]}


def _reason(error: Exception) -> str:
    """Return the error of a task in one line; if the worker failed, the message of Ray."""
    cause = getattr(error, "cause", None) or error
    return f"{type(cause).__name__}: {(str(cause).strip().splitlines() or [''])[0][:300]}".rstrip(": ")
