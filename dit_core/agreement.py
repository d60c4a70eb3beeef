"""How every figure of a record is compared with the same run measured again: a table of rules. Imports no torch.

Work and bytes must be the same. What the seeds decide is the same up to rounding on one machine, and elsewhere within
what both intervals together allow: half widths add in quadrature. What is timed is compared on one machine only, within
its intervals and what two processes differ by. The rest says why it is not compared.
"""

import math
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from dit_core.spec import RunRecord

Z95 = 1.96
EXACT, SEEDED, MEASURED, LEFT_OUT = "exact", "same seeds", "measured", "not compared"
JUDGED = 0.01  # relative, or of a share: the same images up to rounding, judged on one machine
PSNR_DB, SIMILAR = 1.0, 0.02  # rounding differs between thread counts and grows over the steps
ROUTED = 0.01  # of the tokens: rounding sends some to another expert
ENERGY = 0.1  # relative; NVML's counter is right to 5 %, on either side
# Blocks of one process tell nothing of what differs from process to process, such as where memory lies: speed-ups of
# the same recipe measured in two processes differed by about 4 %.
BETWEEN_PROCESSES = 0.04
# A run keeps what it frees (`runtime.keep_freed_memory`), so its peak depends on which freed blocks the allocator could
# use again, and with two threads on who came first. DiT-S/2 at 1,024 tokens, five fresh processes: four times 174.5 MB
# and once 191.5, 10 % more; with a single arena (MALLOC_ARENA_MAX=1) always 186 to 189. Small networks differ by 4 %
# (59.2 to 61.9 MB). At 4,096 tokens one rerun differed by 18 %.
PEAK_RELATIVE = 0.2


@dataclass(frozen=True)
class Again:
    """One figure measured again: `low` to `high` is where it had to be; None where nothing but itself was allowed.

    `kind` is EXACT, SEEDED (decided by the seeds, up to rounding), MEASURED or LEFT_OUT; `why` is its reason.
    """

    figure: str
    was: Any
    now: Any
    low: float | None = None
    high: float | None = None
    kind: str = MEASURED
    why: str = ""

    @property
    def compared(self) -> bool:
        return self.kind != LEFT_OUT

    @property
    def ok(self) -> bool:
        if not self.compared:
            return True
        if self.was is None or self.now is None or self.kind == EXACT:
            return self.was == self.now
        low, high = (self.was if end is None else end for end in (self.low, self.high))
        return low <= self.now <= high


Rule = Callable[[RunRecord, RunRecord, str], Again]


def compare(was: RunRecord, now: RunRecord) -> Iterator[Again]:
    """Each figure that either record holds, by its rule; a figure that one was made too early for is left out."""
    for figure, rule in RULES.items():
        section, name = figure.split(".")
        held = [name in getattr(side, section) for side in (was, now)]
        if all(held):
            yield rule(was, now, figure)
        elif any(held):
            yield _left_out(was, now, figure, "one of the records was made before this figure was kept")


def same_machine(was: RunRecord, now: RunRecord) -> bool:
    return was.environment["fingerprint"] == now.environment["fingerprint"]


def disturbed(record: RunRecord) -> bool:
    """Whether its timing says that something else used the device meanwhile."""
    return bool(record.latency.get("flag"))


def _read(record: RunRecord, figure: str) -> Any:
    section, name = figure.split(".")
    return getattr(record, section).get(name)


def _left_out(was: RunRecord, now: RunRecord, figure: str, why: str) -> Again:
    values = [value if isinstance(value, int | float) else None for value in (_read(was, figure), _read(now, figure))]
    return Again(figure, *values, kind=LEFT_OUT, why=why)


def _within(was: RunRecord, now: RunRecord, figure: str, apart: float, kind: str = MEASURED) -> Again:
    before = _read(was, figure)
    low, high = (None, None) if before is None else (before - apart, before + apart)
    return Again(figure, before, _read(now, figure), low, high, kind)


def exact(was: RunRecord, now: RunRecord, figure: str) -> Again:
    """Nothing but itself."""
    return Again(figure, _read(was, figure), _read(now, figure), kind=EXACT)


def not_compared(why: str) -> Rule:
    return lambda was, now, figure: _left_out(was, now, figure, why)


def relative(share: float) -> Rule:
    """Within a share of the figure: what two runs on one machine may differ by, where the figure has no interval."""
    return lambda was, now, figure: _within(was, now, figure, share * abs(_read(was, figure) or 0))


def seeded(share: float = JUDGED, *, apart: float | None = None, name: str = "", optional: bool = False) -> Rule:
    """The same images up to rounding: within a share of the figure, or `apart`; on another machine by its intervals.

    `name` is the field with the name of its metric: under two names nothing can be said, so the new figure counts as
    unknown. An `optional` figure, which needs weights that are not everywhere, is left out where one side lacks it.
    """

    def rule(was: RunRecord, now: RunRecord, figure: str) -> Again:
        before, section = _read(was, figure), figure.split(".")[0]
        if optional and None in (before, _read(now, figure)):
            return _left_out(was, now, figure, "one of the records could not tell it")
        if name and getattr(was, section)[name] != getattr(now, section).get(name):
            return Again(figure, before, None, kind=SEEDED)
        if same_machine(was, now):
            return _within(was, now, figure, share * abs(before or 0) if apart is None else apart, SEEDED)
        halves = [_half_width(side, figure) for side in (was, now)]
        if before is not None and None in halves:
            return _left_out(was, now, figure, "another machine, and one of the records tells no interval of it")
        return _within(was, now, figure, math.hypot(*(half or 0 for half in halves)))

    return rule


def _half_width(record: RunRecord, figure: str) -> float | None:
    """Of the 95 % interval of a figure; None where its record tells none."""
    section, name = figure.split(".")
    held = getattr(record, section)
    if name in ("distance", "ratio"):
        ends = [held.get("low"), held.get("high")]
    elif name == "kid" and held.get("kid_standard_error") is not None:
        return Z95 * held["kid_standard_error"]
    else:
        ends = (held.get("intervals") or {}).get(name) or [None, None]
    low, high = ends
    return None if low is None or high is None else (high - low) / 2


def timed(half: Callable[[RunRecord, str], tuple[float, float]], *, alone: bool) -> Rule:
    """What both spreads allow, and what processes differ by: `half` gives how far a side reaches down and up.

    A time that stands `alone` is left out where something disturbed either timing; what that did to both sides of a
    turn leaves their ratio as it was.
    """

    def rule(was: RunRecord, now: RunRecord, figure: str) -> Again:
        if not same_machine(was, now):
            return _left_out(was, now, figure, "another machine")
        if alone and (disturbed(was) or disturbed(now)):
            return _left_out(was, now, figure, f"disturbed: {was.latency.get('flag') or now.latency.get('flag')}")
        before = _read(was, figure)
        if before is None or _read(now, figure) is None:
            return Again(figure, before, _read(now, figure))
        (down, up), (below, above) = half(was, figure), half(now, figure)
        single = sum(_single_process(side) for side in (was, now))
        wider = BETWEEN_PROCESSES * before * (single / 2) ** 0.5
        low, high = (down + above, up + below) if alone else (math.hypot(down, above), math.hypot(up, below))
        return Again(figure, before, _read(now, figure), before - low - wider, before + high + wider)

    return rule


def _single_process(record: RunRecord) -> bool:
    """Whether all its times came from one process, so that its intervals do not know what processes differ by."""
    return len(record.speedup.get("process_ratios") or ()) < 2


def _interval_reach(record: RunRecord, figure: str) -> tuple[float, float]:
    half = _half_width(record, figure) or 0.0
    return half, half


def _quartile_reach(record: RunRecord, figure: str) -> tuple[float, float]:
    """How far the quartiles of the raw times are from the figure."""
    raw = record.speedup.get("baseline_raw_s") if "baseline" in figure else record.latency["raw_s"]
    if len(raw or ()) < 2:
        return 0.0, 0.0
    low, _, high = statistics.quantiles(raw or (), n=4)
    return max(0.0, _read(record, figure) - low), max(0.0, high - _read(record, figure))


def routed(was: RunRecord, now: RunRecord, figure: str) -> Again:
    """The share of tokens that other experts got, by layer and timestep."""
    tables = [(_read(side, figure) or {}).get("tokens") for side in (was, now)]
    counts = [None if table is None else list(_flat(table)) for table in tables]
    if None in counts or len(counts[0] or ()) != len(counts[1] or ()):
        same = counts[0] == counts[1]
        return Again(figure, None if same else 0.0, None if same else 1.0, 0.0, 0.0, SEEDED)
    before, after = counts
    moved = sum(abs(a - b) for a, b in zip(before or (), after or (), strict=True)) / 2 / max(1, sum(before or ()))
    return Again(figure, 0.0, moved, 0.0, ROUTED, SEEDED)


def _flat(table: Any) -> Iterator[int]:
    for one in table:
        yield from _flat(one) if isinstance(one, list) else (one,)


_ONCE = not_compared("it happens once in a process, with cold or warm files: it has no interval")
_INTERVAL = not_compared("it is part of an interval, by which the figure itself is compared")
_TIMES = not_compared("the latency that it belongs to is compared")
_HOW = not_compared("it tells how long was timed, not what was found")
_PROFILED = not_compared("one pass of a profiler, which slows what it looks at: it tells where time goes, not how much")
_MACHINE = not_compared("it is the machine's, not the run's")
_WORDS = not_compared("it is told from other figures")
_PEAK = relative(PEAK_RELATIVE)
_RATIO, _LATENCY = timed(_interval_reach, alone=False), timed(_quartile_reach, alone=True)
_SHARE = seeded(apart=JUDGED, name="metric")
_FID = seeded(name="fid_metric", optional=True)

RULES: dict[str, Rule] = {
    "flops.flops": exact,
    "flops.macs": exact,
    "flops.baseline_flops": exact,
    "flops.baseline_macs": exact,
    "flops.int8_ops": exact,
    "flops.moved_bytes": exact,
    "flops.baseline_moved_bytes": exact,
    "flops.arithmetic_intensity_flop_per_byte": exact,
    "flops.uncounted": exact,
    "flops.routing": routed,
    "flops.experts": not_compared("its operations are compared as a whole"),
    "flops.roofline": _MACHINE,
    "memory.weight_bytes": exact,
    "memory.baseline_weight_bytes": exact,
    "memory.peak_memory_bytes": _PEAK,
    "memory.peak_reserved_bytes": _PEAK,
    "memory.nvml_used_bytes": _PEAK,
    "memory.load_peak_memory_bytes": _ONCE,
    "memory.peak_kind": exact,
    "quality.metric": not_compared("the figures under this name are compared, and fail under another"),
    "quality.spatial_metric": not_compared("the figure under this name is compared, and fails under another"),
    "quality.fid_metric": not_compared("the figures under this name are compared, and fail under another"),
    "quality.distance": seeded(name="metric"),
    "quality.distance_infinity": seeded(name="metric"),
    "quality.kid": seeded(name="metric"),
    "quality.spatial_distance": seeded(name="spatial_metric"),
    "quality.precision": _SHARE,
    "quality.recall": _SHARE,
    "quality.classifier_score": seeded(name="metric"),
    "quality.class_accuracy": _SHARE,
    "quality.class_accuracy_by_class": not_compared("its mean is compared: the class accuracy"),
    "quality.class_accuracy_held_out": exact,
    "quality.fid": _FID,
    "quality.sfid": _FID,
    "quality.inception_score": _FID,
    "quality.inception_score_spread": _INTERVAL,
    "quality.count": exact,
    "quality.not_finite_images": exact,
    "quality.replicates": exact,
    "quality.replicate_values": not_compared("their mean is compared, figure by figure"),
    "quality.extractor": exact,
    "quality.reference": exact,
    "quality.low": _INTERVAL,
    "quality.high": _INTERVAL,
    "quality.interval": _INTERVAL,
    "quality.intervals": _INTERVAL,
    "quality.interval_method": _INTERVAL,
    "quality.kid_standard_error": _INTERVAL,
    "fidelity.psnr_db": seeded(apart=PSNR_DB),
    "fidelity.ssim": seeded(apart=SIMILAR),
    "fidelity.feature_cosine": seeded(apart=SIMILAR),
    "fidelity.feature_extractor": exact,
    "fidelity.count": exact,
    "fidelity.not_finite_images": exact,
    "fidelity.identical": not_compared("rounding tells pairs apart that were the same"),
    "fidelity.intervals": _INTERVAL,
    "fidelity.interval_method": _INTERVAL,
    "energy.energy_j": relative(ENERGY),
    "energy.baseline_energy_j": relative(ENERGY),
    "speedup.ratio": _RATIO,
    "speedup.baseline_latency_s": _LATENCY,
    "speedup.low": _INTERVAL,
    "speedup.high": _INTERVAL,
    "speedup.confidence": _INTERVAL,
    "speedup.process_ratios": _INTERVAL,
    "speedup.blocks": _HOW,
    "speedup.baseline_process_calls": _HOW,
    "speedup.baseline_turn_calls": _HOW,
    "speedup.baseline_raw_s": _TIMES,
    "speedup.baseline_time_shares": _PROFILED,
    "speedup.explanation": _WORDS,
    "latency.latency_s": _LATENCY,
    "latency.throughput_images_per_s": _TIMES,
    "latency.raw_s": _TIMES,
    "latency.latency_p25_s": _TIMES,
    "latency.latency_p75_s": _TIMES,
    "latency.load_s": _ONCE,
    "latency.first_call_s": _ONCE,
    "latency.batch_size": exact,
    "latency.calls": _HOW,
    "latency.warmup_calls": _HOW,
    "latency.processes": _HOW,
    "latency.process_calls": _HOW,
    "latency.process_turns": _HOW,
    "latency.turn_calls": _HOW,
    "latency.warmed_up": _HOW,
    "latency.machine": _HOW,
    "latency.processor_share": _HOW,
    "latency.time_shares": _PROFILED,
    "samples.labels": exact,
    "samples.seeds": exact,
    "samples.indices": exact,
    "samples.tile": exact,
    "samples.columns": exact,
    "samples.sheet": not_compared("a pixel that rounds to another byte gives the file another name"),
    "samples.baseline_sheet": not_compared("a pixel that rounds to another byte gives the file another name"),
}
