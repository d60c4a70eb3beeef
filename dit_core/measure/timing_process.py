"""Timing of both sides of a run in this process, and in a new one."""

import mmap
import random
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import psutil

from dit_core.listener import Listener
from dit_core.measure.interleaved import PairTiming, Plan, measure_pair
from dit_core.measure.workload import Calls, Workload
from dit_core.system import devices, isolation
from dit_core.system.monitor import Monitor

_HEAP_BLOCKS, _BLOCK_BYTES = 64, 1 << 16  # small enough for the heap
_PIECE_BYTES = 1 << 20
_MAPPED_BYTES = 1 << 30  # only addresses; many huge pages, to which the kernel aligns large mappings
_unused: list[Any] = []


@dataclass(frozen=True)
class Timed:
    """Times of one process, the share of that time for which its thread had a processor, and the machine's readings."""

    timing: PairTiming
    processor_share: float
    readings: list[dict[str, Any]]


def time_pair(calls: Calls, device: str, plan: Plan, seed: int, listener: Listener = Listener()) -> Timed:  # noqa: B008
    """Time both calls in this process."""
    monitor = Monitor(device)
    monitor.read()
    thread_s, wall_s = time.thread_time(), time.perf_counter()
    timing = measure_pair(
        calls.baseline,
        calls.candidate,
        plan=plan,
        synchronize=devices.synchronizer(device),
        seed=seed,
        listener=listener,
        between=monitor.read,
    )
    processor_share = min(1.0, (time.thread_time() - thread_s) / (time.perf_counter() - wall_s))
    monitor.read(now=True)
    return Timed(timing, processor_share, monitor.readings)


def time_pair_in_new_process(
    workload: Workload, plan: Plan, seed: int, limit_s: float, watch: Callable[[], None]
) -> Timed:
    """Time both sides of a workload in a new process. Raises `isolation.Failed`, and what `watch` raises."""
    isolation.warm(type(workload).__module__)
    return isolation.run(_load_and_time, workload, plan, seed, limit_s=limit_s, watch=watch)


def _load_and_time(workload: Workload, plan: Plan, seed: int) -> Timed:
    _shift_addresses()
    return time_pair(workload.load(), workload.spec.device, plan, seed)


def _shift_addresses() -> None:
    """Move heap and mappings by a random distance.

    Where memory lies affects speed and differs between new processes, but not between forks of one server.
    """
    draw = random.SystemRandom()
    _unused.extend(bytearray(draw.randrange(_BLOCK_BYTES)) for _ in range(_HEAP_BLOCKS))
    if not hasattr(mmap, "MAP_PRIVATE"):  # Windows, where nothing is forked
        return
    for _ in range(2):  # the first reading itself may take memory from a gap
        for size in sorted(_pieces(_gaps()), reverse=True):  # a mapping goes into the highest gap that is large enough
            _reserve(size)
    _reserve(draw.randrange(mmap.PAGESIZE, _MAPPED_BYTES, mmap.PAGESIZE))


def _gaps() -> list[int]:
    """Sizes (bytes) of the gaps between the mappings of this process."""
    if not hasattr(psutil.Process, "memory_maps"):  # macOS, where nothing is forked
        return []
    mapped = [part.addr.split("-") for part in psutil.Process().memory_maps(grouped=False)]
    spans = sorted((int(start, 16), int(end, 16)) for start, end in mapped)
    sizes = (above[0] - below[1] for below, above in pairwise(spans))
    return [size for size in sizes if 0 < size < _MAPPED_BYTES]


def _pieces(sizes: Iterable[int]) -> Iterator[int]:
    """Split sizes (bytes) into pieces smaller than a huge page: larger mappings may be aligned, and miss the gap."""
    for size in sizes:
        whole, rest = divmod(size, _PIECE_BYTES)
        yield from [_PIECE_BYTES] * whole
        if rest:
            yield rest


def _reserve(size: int) -> None:
    _unused.append(mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=mmap.PROT_READ))
