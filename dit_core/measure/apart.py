"""Timing in one process, and the same in a fresh one."""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from dit_core import fresh
from dit_core.listener import Listener
from dit_core.measure.machine import Machine
from dit_core.measure.turns import PairTiming, Plan, measure_pair
from dit_core.spec import RunSpec


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


def elsewhere(spec: RunSpec, plan: Plan, seed: int, time_limit_s: float, watch: Callable[[], None]) -> Timed:
    """Time both sides of a spec in a fresh process. Raises NotTimed with the reason where that fails."""
    request = json.dumps({"spec": spec.to_dict(), "plan": asdict(plan), "seed": seed})
    try:
        data = fresh.ask(__name__, request, time_limit_s, watch)
        return Timed(PairTiming.from_dict(data["timing"]), data["processor_share"], data["looks"])
    except fresh.Failed as error:
        raise NotTimed(str(error)) from error
    except (KeyError, TypeError) as error:
        raise NotTimed("it did not tell its times") from error


def main() -> None:
    """Read a request from standard input, print the times as one line of JSON."""
    from dit_core import experiment

    request = json.loads(sys.stdin.read())
    spec, plan = RunSpec.from_dict(request["spec"]), Plan(**request["plan"])
    prepared = experiment.prepare(spec)
    candidate = (lambda: prepared.generate_once(prepared.candidate)) if spec.techniques else None
    timed = here(lambda: prepared.generate_once(prepared.baseline), candidate, spec, plan, request["seed"])
    print(json.dumps(asdict(timed)))


def _synchronizer(device: str) -> Callable[[], None]:
    if device != "cuda":
        return lambda: None
    import torch

    return torch.cuda.synchronize


if __name__ == "__main__":
    main()
