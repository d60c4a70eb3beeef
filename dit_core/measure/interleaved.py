"""Times of two calls in one process, interleaved.

Baseline and candidate run alternately in random order, so that slow drift of the machine falls on both sides alike. The
faster side is called several times in its turn, so that both sides are timed for about as long.
"""

import math
import random
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from dit_core.errors import Cancelled
from dit_core.listener import Listener

WARMUP_CALLS, STABLE = 5, 0.1
EXPECTED_WARM_UP = 3  # calls until two consecutive times agree, usually
MOST_CALLS = 16  # of one side per turn
LEAST_TURNS = 2  # needed for a spread


@dataclass(frozen=True)
class Plan:
    """When one process has timed enough.

    It stops after `turns` turns with `enough_s` seconds of each side, or after `most_s` seconds (half of it for a
    single side). It runs at least `least` turns, or, once `long_s` seconds have passed, the two turns that a spread
    needs. `calls` is the number of calls of baseline and candidate per turn; None finds it from their times.
    """

    least: int = 5
    long_s: float = 60
    turns: int = 10
    enough_s: float = 10 / 3
    most_s: float = 40 / 3
    calls: tuple[int, int] | None = None

    def expected_s(self, *call_s: float) -> float:
        """Return about how many seconds a process times for, from the time of one call of each side."""
        per_turn = [count * one for count, one in zip(turn_calls(list(call_s)), call_s, strict=False)]
        warm_up, turn = EXPECTED_WARM_UP * sum(call_s), sum(per_turn)
        wanted = max(self.turns, math.ceil(self.enough_s / min(per_turn)))
        least = self.least if warm_up + self.least * turn < self.long_s else LEAST_TURNS
        return warm_up + turn * min(wanted, max(least, int(self.most_s * len(call_s) / 2 / turn)))


@dataclass(frozen=True)
class PairTiming:
    """Raw seconds of every call of each side in one process, `turn_calls` of them (baseline, candidate) in a turn.

    `candidate_s` is empty if only the baseline was timed. `warmed_up` is false if the times had not settled before.
    """

    baseline_s: list[float]
    candidate_s: list[float] = field(default_factory=list)
    warmup_calls: int = 0
    warmed_up: bool = True
    turn_calls: tuple[int, int] = (1, 1)

    def ratio(self) -> float:
        """Return the speed-up: median time of the baseline over median time of the candidate."""
        return statistics.median(self.baseline_s) / statistics.median(self.candidate_s)

    @property
    def turn_count(self) -> int:
        return len(self.baseline_s) // self.turn_calls[0]

    def turns(self) -> list[tuple[list[float], list[float]]]:
        """Return the calls of both sides, turn by turn."""
        base, own = self.turn_calls
        return list(zip(_chunks(self.baseline_s, base), _chunks(self.candidate_s, own), strict=True))

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "PairTiming":
        return cls(**{**data, "turn_calls": tuple(data["turn_calls"])})


def measure_pair(
    baseline: Callable[[], None],
    candidate: Callable[[], None] | None,
    *,
    plan: Plan = Plan(),
    synchronize: Callable[[], None] = lambda: None,
    seed: int = 0,
    listener: Listener = Listener(),  # noqa: B008 (frozen)
    between: Callable[[], object] = lambda: None,
    clock: Callable[[], float] = time.perf_counter,
) -> PairTiming:
    """Time both calls interleaved, by `plan`. `between` is called before each turn."""
    sides = [baseline] if candidate is None else [baseline, candidate]
    raw: list[list[float]] = [[] for _ in sides]
    generator, began, turns = random.Random(seed), clock(), 0
    warm = [_warm_up(side, synchronize, clock, began + plan.long_s / 2) for side in sides]
    calls = plan.calls or turn_calls([one.best_s for one in warm])
    started, most_s = clock(), plan.most_s * len(sides) / 2
    while (done := _done(plan, turns, raw, clock() - started, most_s, clock() - began)) < 1:
        if listener.cancelled():
            raise Cancelled("The run was cancelled.")
        listener.progress("speed", int(done * plan.turns), plan.turns)
        between()
        for index in generator.sample(range(len(sides)), len(sides)):
            raw[index] += [_timed(sides[index], synchronize, clock) for _ in range(calls[index])]
        turns += 1
    listener.progress("speed", plan.turns, plan.turns)
    warmed_up = all(one.stable for one in warm)
    return PairTiming(raw[0], raw[1] if candidate else [], sum(one.calls for one in warm), warmed_up, calls)


def turn_calls(seconds: list[float]) -> tuple[int, int]:
    """Return the calls of each side per turn, from the time of one call of each; the slower side is called once."""
    if len(seconds) < 2:
        return 1, 1
    base, own = (min(MOST_CALLS, max(1, round(max(seconds) / one))) for one in seconds)
    return base, own


@dataclass(frozen=True)
class _Warm:
    calls: int
    stable: bool
    best_s: float  # a disturbance only makes a call longer


def _warm_up(
    call: Callable[[], None], synchronize: Callable[[], None], clock: Callable[[], float], until: float
) -> _Warm:
    """Call until two consecutive times agree within a tenth; at most five times, after `until` only twice."""
    times = [_timed(call, synchronize, clock)]
    stable = False
    while not stable and len(times) < WARMUP_CALLS and (len(times) < 2 or clock() <= until):
        times.append(_timed(call, synchronize, clock))
        stable = abs(times[-1] - times[-2]) <= STABLE * times[-2]
    return _Warm(len(times), stable, min(times))


def _timed(call: Callable[[], None], synchronize: Callable[[], None], clock: Callable[[], float]) -> float:
    synchronize()
    started = clock()
    call()
    synchronize()
    return clock() - started


def _done(plan: Plan, turns: int, raw: list[list[float]], timing_s: float, most_s: float, in_all_s: float) -> float:
    """Return the completed share of the plan; 1 or more is enough."""
    least = plan.least if in_all_s < plan.long_s else min(LEAST_TURNS, plan.least)
    shares = [turns / plan.turns, min(map(sum, raw)) / plan.enough_s if plan.enough_s else 1.0]
    by_time = timing_s / most_s if most_s else 1.0
    return min(turns / least, max(min(shares), by_time))


def _chunks(values: list[float], size: int) -> list[list[float]]:
    return [values[start : start + size] for start in range(0, len(values), size)]
