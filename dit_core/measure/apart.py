"""Timing in one process, and the same in a fresh one: `python -m dit_core.measure.apart`."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from dit_core.errors import Cancelled
from dit_core.listener import Listener
from dit_core.measure.machine import Machine
from dit_core.measure.turns import PairTiming, Plan, measure_pair
from dit_core.spec import RunSpec

POLL_S = 0.2
COMMAND = (sys.executable, "-m", "dit_core.measure.apart")


class NotTimed(RuntimeError):
    """The message is the reason."""


@dataclass(frozen=True)
class Timed:
    """Times of one process, the share of the time for which its thread had a processor, and looks at the machine."""

    timing: PairTiming
    processor_share: float
    looks: list[dict[str, Any]]


def here(
    baseline: Callable[[], None],
    candidate: Callable[[], None] | None,
    spec: RunSpec,
    plan: Plan,
    seed: int,
    listener: Listener = Listener(),  # noqa: B008 (frozen)
) -> Timed:
    """Time both calls in this process."""
    machine = Machine(spec.device)
    machine.look()
    thread_s, wall_s = time.thread_time(), time.perf_counter()
    timing = measure_pair(
        baseline,
        candidate,
        plan=plan,
        synchronize=_synchronizer(spec.device),
        seed=seed,
        listener=listener,
        between=machine.look,
    )
    had = min(1.0, (time.thread_time() - thread_s) / (time.perf_counter() - wall_s))
    machine.look(now=True)
    return Timed(timing, had, machine.looks)


def elsewhere(spec: RunSpec, plan: Plan, seed: int, time_limit_s: float, cancelled: Callable[[], bool]) -> Timed:
    """Time both sides of a spec in a fresh process. Raises NotTimed with the reason where that fails."""
    request = json.dumps({"spec": spec.to_dict(), "plan": asdict(plan), "seed": seed})
    pipe, until = subprocess.PIPE, time.monotonic() + time_limit_s
    try:
        process = subprocess.Popen(COMMAND, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
    except OSError as error:
        raise NotTimed(f"it could not be started: {error}") from error
    with process:
        try:
            told, complaint = _wait(process, request, until, cancelled)
        finally:
            process.kill()  # harmless where it has ended
    if process.returncode:
        raise NotTimed(_last(complaint)[:300] or f"it ended with {process.returncode} and left no word")
    try:
        data = json.loads(_last(told))
        return Timed(PairTiming.from_dict(data["timing"]), data["processor_share"], data["looks"])
    except (ValueError, KeyError, TypeError) as error:
        raise NotTimed("it did not tell its times") from error


def _wait(process: subprocess.Popen, request: str, until: float, cancelled: Callable[[], bool]) -> tuple[str, str]:
    """What it wrote to both streams."""
    to_send: str | None = request
    while True:
        try:
            return process.communicate(to_send, timeout=POLL_S)
        except subprocess.TimeoutExpired:
            to_send = None  # it is on its way
            if cancelled():
                raise Cancelled("The run was cancelled.") from None
            if time.monotonic() > until:
                raise NotTimed("it took too long") from None


def main() -> None:
    """Read a request from standard input, print the times as one line of JSON."""
    from dit_core import experiment

    request = json.loads(sys.stdin.read())
    spec, plan = RunSpec.from_dict(request["spec"]), Plan(**request["plan"])
    prepared = experiment.prepare(spec)
    candidate = (lambda: prepared.generate_once(prepared.candidate)) if spec.techniques else None
    timed = here(lambda: prepared.generate_once(prepared.baseline), candidate, spec, plan, request["seed"])
    print(json.dumps(asdict(timed)))


def _last(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")


def _synchronizer(device: str) -> Callable[[], None]:
    if device != "cuda":
        return lambda: None
    import torch

    return torch.cuda.synchronize


if __name__ == "__main__":
    main()
