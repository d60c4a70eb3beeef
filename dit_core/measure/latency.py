"""Time of a call, and of two calls against each other.

A speed-up is never two numbers from two moments: baseline and candidate run in turn, in random order, in one process,
and the ratio's interval comes from resampling the turns. Slow drift of the machine then falls on both sides alike.
"""

import random
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from dit_core.errors import Cancelled
from dit_core.listener import Listener
from dit_core.spec import RunSpec

CONFIDENCE = 0.95
MIN_PAIRS, ENOUGH_PAIRS = 5, 30
ENOUGH_S, MAX_S = 10.0, 40.0  # per side; both sides together
WARMUP_CALLS, STABLE = 5, 0.1
UNDISTURBED = 0.9  # share of the time for which the timing thread must have had a processor


@dataclass(frozen=True)
class PairTiming:
    """Raw seconds of each side, turn by turn; `candidate_s` is empty where one side alone was timed."""

    baseline_s: list[float]
    candidate_s: list[float] = field(default_factory=list)
    warmup_calls: int = 0

    def ratio(self) -> float:
        """Speed-up: median time of the baseline over median time of the candidate."""
        return statistics.median(self.baseline_s) / statistics.median(self.candidate_s)

    def interval(self, confidence: float = CONFIDENCE, draws: int = 2000, seed: int = 0) -> tuple[float, float]:
        """Percentile bootstrap of the ratio over whole turns, so that what hit both sides of a turn stays together."""
        generator, turns = random.Random(seed), list(zip(self.baseline_s, self.candidate_s, strict=True))
        ratios = []
        for _ in range(draws):
            drawn = generator.choices(turns, k=len(turns))
            ratios.append(statistics.median(b for b, _ in drawn) / statistics.median(c for _, c in drawn))
        ratios.sort()
        tail = (1 - confidence) / 2
        return ratios[int(tail * draws)], ratios[int((1 - tail) * draws) - 1]


def measure_pair(
    baseline: Callable[[], None],
    candidate: Callable[[], None] | None,
    *,
    synchronize: Callable[[], None] = lambda: None,
    seed: int = 0,
    max_seconds: float = MAX_S,
    listener: Listener = Listener(),  # noqa: B008 (frozen)
    clock: Callable[[], float] = time.perf_counter,
) -> PairTiming:
    """Time both calls in turn until there are enough turns or `max_seconds` have passed; at least five turns."""
    sides = [baseline] if candidate is None else [baseline, candidate]
    raw: list[list[float]] = [[] for _ in sides]
    warmup = sum(_warm_up(side, synchronize, clock) for side in sides)
    generator, started = random.Random(seed), clock()
    budget = max_seconds * len(sides) / 2
    while not _enough(raw[0], clock() - started, budget):
        if listener.cancelled():
            raise Cancelled("The run was cancelled.")
        for index in generator.sample(range(len(sides)), len(sides)):
            raw[index].append(_timed(sides[index], synchronize, clock))
        listener.progress("speed", min(len(raw[0]), ENOUGH_PAIRS), ENOUGH_PAIRS)
    listener.progress("speed", ENOUGH_PAIRS, ENOUGH_PAIRS)
    return PairTiming(raw[0], raw[1] if candidate else [], warmup)


def speed(
    baseline: Callable[[], None], candidate: Callable[[], None] | None, spec: RunSpec, listener: Listener
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The latency and speedup sections. `candidate` is None where the run is the baseline itself."""
    thread_s, wall_s = time.thread_time(), time.perf_counter()
    timing = measure_pair(
        baseline, candidate, synchronize=_synchronizer(spec.device), seed=spec.seed, listener=listener
    )
    had = min(1.0, (time.thread_time() - thread_s) / (time.perf_counter() - wall_s))
    own = timing.candidate_s or timing.baseline_s
    middle = statistics.median(own)
    quartiles = statistics.quantiles(own, n=4)
    latency = {
        "latency_s": middle,
        "latency_p25_s": quartiles[0],
        "latency_p75_s": quartiles[2],
        "calls": len(own),
        "warmup_calls": timing.warmup_calls,
        "throughput_images_per_s": spec.batch_size / middle,
        "raw_s": [round(seconds, 6) for seconds in own],
        "processor_share": had,
    }
    if flag := disturbance(had, _other_processes(spec.device)):
        latency["flag"] = flag
    nothing = dict.fromkeys(("ratio", "low", "high", "confidence", "blocks", "baseline_latency_s"))
    if candidate is None:
        return latency, {**nothing, "reason": "this run is the baseline"}
    low, high = timing.interval()
    return latency, {
        "ratio": timing.ratio(),
        "low": low,
        "high": high,
        "confidence": CONFIDENCE,
        "blocks": len(own),
        "baseline_latency_s": statistics.median(timing.baseline_s),
        "baseline_raw_s": [round(seconds, 6) for seconds in timing.baseline_s],
    }


def disturbance(processor_share: float, other_processes: int) -> str:
    """What used the device meanwhile, in words; empty where nothing did.

    `processor_share` is that of the time for which the timing thread ran on a processor: it never waits for anything
    but the device, and spins while it does.
    """
    if other_processes:
        return f"the GPU was shared with {other_processes} other processes"
    if processor_share < UNDISTURBED:
        return f"something else used the processor: this run had it {100 * processor_share:.0f} % of the time"
    return ""


def _other_processes(device: str) -> int:
    """Processes besides this one that compute on the GPU, as far as the driver tells."""
    if device != "cuda":
        return 0
    from dit_core.measure.nvml import Gpu, NoNvml

    try:
        return max(0, (Gpu().processes() or 1) - 1)
    except NoNvml:
        return 0


def _warm_up(call: Callable[[], None], synchronize: Callable[[], None], clock: Callable[[], float]) -> int:
    """Call until two times in a row agree within a tenth, five times at most; returns the number of calls."""
    last = _timed(call, synchronize, clock)
    for calls in range(2, WARMUP_CALLS + 1):
        now = _timed(call, synchronize, clock)
        if abs(now - last) <= STABLE * last:
            return calls
        last = now
    return WARMUP_CALLS


def _timed(call: Callable[[], None], synchronize: Callable[[], None], clock: Callable[[], float]) -> float:
    synchronize()
    started = clock()
    call()
    synchronize()
    return clock() - started


def _enough(side: list[float], elapsed: float, budget: float) -> bool:
    if len(side) < MIN_PAIRS:
        return False
    return elapsed >= budget or (len(side) >= ENOUGH_PAIRS and sum(side) >= ENOUGH_S)


def _synchronizer(device: str) -> Callable[[], None]:
    if device != "cuda":
        return lambda: None
    import torch

    return torch.cuda.synchronize
