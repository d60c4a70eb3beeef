"""The sections latency and speedup.

A speed-up is never two numbers from two moments: baseline and candidate run in turn, and in several processes, since
one process cannot know by how much another would differ.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from dit_core.errors import Cancelled
from dit_core.listener import Listener
from dit_core.measure.apart import NotTimed, Timed, elsewhere, here
from dit_core.measure.interval import CONFIDENCE, FULL, interval, pooled, ratio
from dit_core.measure.machine import untold
from dit_core.measure.turns import Plan
from dit_core.spec import RunSpec

PLAN = Plan()  # of one process
PROCESSES = FULL
PAIRED = ("process_ratios", "baseline_latency_s", "baseline_process_calls", "baseline_turn_calls")
NO_SPEEDUP = dict.fromkeys(("ratio", "low", "high", "confidence", "blocks", *PAIRED))
LOAD_LIMIT_S = 600.0  # beside a few times what timing took here
UNSETTLED = "times had not settled after the warm-up"
FEW_TURNS = "no more than {} turns in a process, which took too long: its calls are slow, or something else ran"
UNDISTURBED = 0.9  # share of the time for which the timing thread must have had a processor


def speed(
    baseline: Callable[[], None], candidate: Callable[[], None] | None, spec: RunSpec, listener: Listener
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The latency and speedup sections. `candidate` is None where the run is the baseline itself."""
    processes, failure = _in_processes(baseline, candidate, spec, listener)
    timings = [one.timing for one in processes]
    sides = pooled(timings)
    own = sides[1] or sides[0]
    side = 1 if candidate else 0
    middle = statistics.median(own)
    quartiles = statistics.quantiles(own, n=4)
    looks = [{"process": i, **look} for i, one in enumerate(processes) for look in one.looks]
    reasons = {**({"processes": failure} if failure else {}), **untold(looks)}
    latency = {
        "latency_s": middle,
        "latency_p25_s": quartiles[0],
        "latency_p75_s": quartiles[2],
        "calls": len(own),
        "processes": len(processes),
        "process_calls": [len(one.candidate_s or one.baseline_s) for one in timings],
        "process_turns": [one.turn_count for one in timings],
        "turn_calls": timings[0].turn_calls[side],
        "warmup_calls": sum(one.warmup_calls for one in timings),
        "warmed_up": all(one.warmed_up for one in timings),
        "throughput_images_per_s": spec.batch_size / middle,
        "raw_s": _rounded(own),
        "processor_share": min(one.processor_share for one in processes),
        "machine": looks,
        **({"reasons": reasons} if reasons else {}),
    }
    others = max((look.get("gpu_other_processes", 0) for look in looks), default=0)
    least = min(latency["process_turns"])
    flags = [
        disturbance(latency["processor_share"], others),
        "" if latency["warmed_up"] else UNSETTLED,
        FEW_TURNS.format(least) if least < PLAN.least else "",
    ]
    if flag := "; ".join(filter(None, flags)):
        latency["flag"] = flag
    if candidate is None:
        return latency, {**NO_SPEEDUP, "reason": "this run is the baseline"}
    low, high = interval(timings)
    return latency, {
        "ratio": ratio(timings),
        "low": low,
        "high": high,
        "confidence": CONFIDENCE,
        "blocks": sum(one.turn_count for one in timings),
        "process_ratios": [one.ratio() for one in timings],
        "baseline_latency_s": statistics.median(sides[0]),
        "baseline_process_calls": [len(one.baseline_s) for one in timings],
        "baseline_turn_calls": timings[0].turn_calls[0],
        "baseline_raw_s": _rounded(sides[0]),
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


def _in_processes(
    baseline: Callable[[], None], candidate: Callable[[], None] | None, spec: RunSpec, listener: Listener
) -> tuple[list[Timed], str]:
    """The same timing in this process and in fresh ones; why there are fewer than there should be."""
    began = time.monotonic()
    found = [here(baseline, candidate, spec, PLAN, spec.seed, _part_of(listener, 0))]
    expected_s = time.monotonic() - began
    limit_s = LOAD_LIMIT_S + 5 * expected_s
    plan = replace(PLAN, calls=found[0].timing.turn_calls)
    for number in range(1, PROCESSES):
        began = time.monotonic()
        watch = partial(_watch, listener, number, began, expected_s)
        try:
            found.append(elsewhere(spec, plan, spec.seed + number, limit_s, watch))
        except NotTimed as error:
            return found, f"timed in {len(found)} of {PROCESSES} processes, since one failed: {error}"
        expected_s = time.monotonic() - began
        _part_of(listener, number).progress("speed", PLAN.turns, PLAN.turns)
    return found, ""


def _watch(listener: Listener, number: int, began: float, expected_s: float) -> None:
    """While another process times: it is as far as its time is, taken that it needs as long as the one before it."""
    if listener.cancelled():
        raise Cancelled("The run was cancelled.")
    share = min(1.0, (time.monotonic() - began) / expected_s)
    _part_of(listener, number).progress("speed", min(int(share * PLAN.turns), PLAN.turns - 1), PLAN.turns)


def _part_of(listener: Listener, number: int) -> Listener:
    """Of one process out of all."""

    def progress(stage: str, step: int, of: int) -> None:
        listener.progress(stage, number * of + step, PROCESSES * of)

    return replace(listener, progress=progress)


def _rounded(seconds: Sequence[float]) -> list[float]:
    return [round(one, 6) for one in seconds]
