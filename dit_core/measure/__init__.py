"""Measure time, memory, work and energy of a run. Each function returns a section of the record."""

from dit_core.environment import environment
from dit_core.measure.energy import energy
from dit_core.measure.flops import Count, count, flops
from dit_core.measure.latency import speed
from dit_core.measure.memory import memory, weight_bytes
from dit_core.measure.routing import add_routing
from dit_core.measure.turns import PairTiming, measure_pair
from dit_core.measure.why import why

__all__ = [
    "Count",
    "PairTiming",
    "add_routing",
    "count",
    "energy",
    "environment",
    "flops",
    "measure_pair",
    "memory",
    "speed",
    "weight_bytes",
    "why",
]
