"""Measure time, memory, operations and energy of a run. Each function returns or completes sections of a record."""

from typing import TYPE_CHECKING, Any

from dit_core.lazy import lazy_exports

if TYPE_CHECKING:
    from dit_core.measure.attribution import add_attribution
    from dit_core.measure.block_evaluations import add_block_evaluations
    from dit_core.measure.compilation import add_compilation
    from dit_core.measure.flops import Count, count
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
    "environment",
    "first_speedup",
    "measure_pair",
    "peak_memory_alongside",
    "speed",
    "weight_bytes",
    "weights_of",
]

_HOMES = {
    "Calls": "dit_core.measure.workload",
    "Count": "dit_core.measure.flops",
    "PairTiming": "dit_core.measure.interleaved",
    "Workload": "dit_core.measure.workload",
    "add_attribution": "dit_core.measure.attribution",
    "add_block_evaluations": "dit_core.measure.block_evaluations",
    "add_compilation": "dit_core.measure.compilation",
    "add_routing": "dit_core.measure.routing",
    "count": "dit_core.measure.flops",
    "environment": "dit_core.system.environment",
    "first_speedup": "dit_core.measure.latency",
    "measure_pair": "dit_core.measure.interleaved",
    "peak_memory_alongside": "dit_core.measure.memory",
    "speed": "dit_core.measure.latency",
    "weight_bytes": "dit_core.measure.memory",
    "weights_of": "dit_core.measure.memory",
}


def __getattr__(name: str) -> Any:
    return lazy_exports(__name__, _HOMES, name)
