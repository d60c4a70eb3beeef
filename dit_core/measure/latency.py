"""The sections latency and speedup.

Baseline and candidate are timed alternately, so that drift of the machine affects both, and in several processes, since
timings differ from process to process.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from dit_core.errors import Cancelled
from dit_core.listener import Listener
from dit_core.measure.interleaved import Plan
from dit_core.measure.interval import CONFIDENCE, FULL, interval, pooled, ratio
from dit_core.measure.timing_process import Timed, time_pair, time_pair_in_new_process
from dit_core.measure.workload import Calls, Workload
from dit_core.system import isolation
from dit_core.system.monitor import missing_reasons

PLAN = Plan()  # of one process
PROCESSES = FULL
PAIRED = ("process_ratios", "baseline_latency_s", "baseline_process_calls", "baseline_turn_calls")
NO_SPEEDUP = dict.fromkeys(("ratio", "low", "high", "confidence", "blocks", *PAIRED))
LOAD_LIMIT_S = 600.0  # of a new process for imports and loading; timing has several times what it took before
UNSETTLED = "times had not settled after the warm-up"
FEW_TURNS = "only {} turns in a process within its time limit: the calls are slow, or another program ran"
FIRST_S = 3.0  # for a first estimate of the speed-up
UNDISTURBED = 0.9  # share of the time for which the timing thread must have had a processor


def speed(calls: Calls, workload: Workload, listener: Listener) -> tuple[dict[str, Any], dict[str, Any]]:
    """The latency and speedup sections; `calls` are those of `workload`, loaded in this process."""
    processes, failure = _time_in_processes(calls, workload, listener)
    timings = [process.timing for process in processes]
    sides = pooled(timings)
    own = sides[1] or sides[0]
    side = 1 if calls.candidate else 0
    middle = statistics.median(own)
    quartiles = statistics.quantiles(own, n=4)
    readings = [{"process": i, **reading} for i, process in enumerate(processes) for reading in process.readings]
    reasons = {**({"processes": failure} if failure else {}), **missing_reasons(readings)}
    latency = {
        "latency_s": middle,
        "latency_p25_s": quartiles[0],
        "latency_p75_s": quartiles[2],
        "calls": len(own),
        "processes": len(processes),
        "process_calls": [len(timing.candidate_s or timing.baseline_s) for timing in timings],
        "process_turns": [timing.turn_count for timing in timings],
        "turn_calls": timings[0].turn_calls[side],
        "warmup_calls": sum(timing.warmup_calls for timing in timings),
        "warmed_up": all(timing.warmed_up for timing in timings),
        "throughput_images_per_s": workload.spec.batch_size / middle,
        "raw_s": _rounded(own),
        "processor_share": min(process.processor_share for process in processes),
        "machine": readings,
        **({"reasons": reasons} if reasons else {}),
    }
    others = max((reading.get("gpu_other_processes", 0) for reading in readings), default=0)
    least = min(latency["process_turns"])
    flags = [
        disturbance(latency["processor_share"], others),
        "" if latency["warmed_up"] else UNSETTLED,
        FEW_TURNS.format(least) if least < PLAN.least else "",
    ]
    if flag := "; ".join(filter(None, flags)):
        latency["flag"] = flag
    if calls.candidate is None:
        return latency, {**NO_SPEEDUP, "reason": "this run is the baseline"}
    low, high = interval(timings)
    return latency, {
        "ratio": ratio(timings),
        "low": low,
        "high": high,
        "confidence": CONFIDENCE,
        "blocks": sum(timing.turn_count for timing in timings),
        "process_ratios": [timing.ratio() for timing in timings],
        "baseline_latency_s": statistics.median(sides[0]),
        "baseline_process_calls": [len(timing.baseline_s) for timing in timings],
        "baseline_turn_calls": timings[0].turn_calls[0],
        "baseline_raw_s": _rounded(sides[0]),
    }


def first_speedup(calls: Calls, synchronize: Callable[[], None], most_s: float = FIRST_S) -> float | None:
    """Return a first estimate of the speed-up from alternate calls within `most_s` seconds, at least one of each side.

    Both sides must have run before. None for a baseline. The estimate has no interval and is in no record.
    """
    if calls.candidate is None:
        return None
    sides: tuple[list[float], list[float]] = ([], [])
    began = time.monotonic()
    while not sides[1] or time.monotonic() - began + sides[0][-1] + sides[1][-1] < most_s:
        for call, seconds in zip((calls.baseline, calls.candidate), sides, strict=True):
            started = time.perf_counter()
            call()
            synchronize()
            seconds.append(time.perf_counter() - started)
    return statistics.median(sides[0]) / statistics.median(sides[1])


def disturbance(processor_share: float, other_processes: int) -> str:
    """What else used the device during the timing, in words; empty if nothing did.

    `processor_share` is the share of the time for which the timing thread ran on a processor. It waits only for the
    device, and spins while it does, so without other programs the share is close to 1.
    """
    if other_processes:
        return f"the GPU was shared with {other_processes} other processes"
    if processor_share < UNDISTURBED:
        return f"other programs used the processor: this run had it {100 * processor_share:.0f} % of the time"
    return ""


def _time_in_processes(calls: Calls, workload: Workload, listener: Listener) -> tuple[list[Timed], str]:
    """The same timing in this process and in new ones, and why there are fewer than there should be."""
    seed = workload.spec.seed
    began = time.monotonic()
    done = [time_pair(calls, workload.spec.device, PLAN, seed, _part_of(listener, 0))]
    expected_s = time.monotonic() - began
    limit_s = LOAD_LIMIT_S + 5 * expected_s
    plan = replace(PLAN, calls=done[0].timing.turn_calls)
    for number in range(1, PROCESSES):
        began = time.monotonic()
        watch = partial(_watch, listener, number, began, expected_s)
        try:
            done.append(time_pair_in_new_process(workload, plan, seed + number, limit_s, watch))
        except isolation.Failed as error:
            return done, f"timed in {len(done)} of {PROCESSES} processes, since one failed: {error}"
        expected_s = time.monotonic() - began
        _part_of(listener, number).progress("speed", PLAN.turns, PLAN.turns)
    return done, ""


def _watch(listener: Listener, number: int, began: float, expected_s: float) -> None:
    """Report the progress of another process from its time, which is expected to be that of the process before it.

    Raises Cancelled.
    """
    if listener.cancelled():
        raise Cancelled("The run was cancelled.")
    share = min(1.0, (time.monotonic() - began) / expected_s)
    _part_of(listener, number).progress("speed", min(int(share * PLAN.turns), PLAN.turns - 1), PLAN.turns)


def _part_of(listener: Listener, number: int) -> Listener:
    """A listener for one of the processes, which reports to `listener` as a part of the whole."""

    def progress(stage: str, step: int, of: int) -> None:
        listener.progress(stage, number * of + step, PROCESSES * of)

    return replace(listener, progress=progress)


def _rounded(seconds: Sequence[float]) -> list[float]:
    return [round(value, 6) for value in seconds]
