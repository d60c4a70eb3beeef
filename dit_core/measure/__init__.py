"""Measure time, memory, operations and energy of a run. Each function returns or completes sections of a record."""

from dit_core.measure.attribution import add_attribution
from dit_core.measure.block_evaluations import add_block_evaluations
from dit_core.measure.compilation import add_compilation
from dit_core.measure.energy import energy
from dit_core.measure.flops import Count, count, flops
from dit_core.measure.interleaved import PairTiming, measure_pair
from dit_core.measure.latency import first_speedup, speed
from dit_core.measure.memory import peak_memory_alongside, weight_bytes, weights_of
from dit_core.measure.routing import add_routing
from dit_core.measure.workload import Calls, Workload
from dit_core.system.environment import environment

__all__ = [
    "Calls",
    "Count",
    "PairTiming",
    "Workload",
    "add_attribution",
    "add_block_evaluations",
    "add_compilation",
    "add_routing",
    "count",
    "energy",
    "environment",
    "first_speedup",
    "flops",
    "measure_pair",
    "peak_memory_alongside",
    "speed",
    "weight_bytes",
    "weights_of",
]
