"""The time that torch.compile takes, apart from the latency, and the times with and without it."""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dit_core.measure.interleaved import Plan, measure_pair
from dit_core.measure.profile import is_compiled
from dit_core.measure.workload import Workload
from dit_core.records.explanation import COMPILATION
from dit_core.system import devices, isolation
from dit_core.system.compiler import CACHES

PLAN = Plan(least=3, enough_s=0, most_s=10)
LIMIT_S = 1200.0  # of a process


def add_compilation(
    latency: dict[str, Any], workload: Workload, network: nn.Module, watch: Callable[[], None] = lambda: None
) -> None:
    """Add `compilation` to the latency section, in place; null with a reason if the network is not compiled.

    `cold_s` and `warm_s` are what the first call of a process takes beyond the later ones, without and with code that
    an earlier process has kept. `uncompiled_latency_s` and `compiled_latency_s` are times of the same recipe, measured
    in turn. What `watch` raises ends the measurement.
    """
    reason = "the network is not compiled"
    latency["compilation"] = None
    if is_compiled(network):
        try:
            latency["compilation"] = _measured(workload, watch)
            return
        except isolation.Failed as error:
            reason = f"the process that measures compilation failed: {error}"
    latency["reasons"] = {**latency.get("reasons", {}), "compilation": reason}


def _measured(workload: Workload, watch: Callable[[], None]) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="dit-core-compile-") as folder:
        environment = {variable: str(Path(folder, name)) for variable, name in CACHES.items()}
        cold, warm = (
            isolation.run(_times, workload, environment=environment, limit_s=LIMIT_S, watch=watch) for _ in range(2)
        )
    return dict(zip(COMPILATION, (cold[0], *warm), strict=True))


def _times(workload: Workload) -> tuple[float, float, float]:
    """Return the seconds to compile, of a call that is not compiled, and of a compiled call."""
    generate = workload.load_candidate()
    synchronize = devices.synchronizer(workload.spec.device)

    def uncompiled() -> None:
        with torch.compiler.set_stance("force_eager"):
            generate()

    started = time.perf_counter()
    generate()
    synchronize()
    first_s = time.perf_counter() - started
    timing = measure_pair(uncompiled, generate, plan=PLAN, synchronize=synchronize)
    compiled_s = statistics.median(timing.candidate_s)
    return max(0.0, first_s - compiled_s), statistics.median(timing.baseline_s), compiled_s
