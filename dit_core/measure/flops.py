"""Work of a call, counted operator by operator while it runs eagerly.

A multiply-accumulate is two floating point operations; int8 products count like float ones. What is counted are matrix
products, convolutions and attention; an operator that looks like one of them and has no formula is listed.
"""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, mm_flop, sdpa_flop_count

aten = torch.ops.aten
MATRIX_LIKE = re.compile(
    r"(mm|matmul|bmm|mv|dot|linear|conv\w*|attention\w*|einsum|packed)$|_mm_|attention|convolution"
)


def _attention(query: Any, key: Any, value: Any, *args: Any, **kwargs: Any) -> int:
    return sdpa_flop_count(query, key, value)


def _first_two(a: Any, b: Any, *args: Any, **kwargs: Any) -> int:
    return mm_flop(a, b)


def _grouped(a: Any, b: Any, *args: Any, **kwargs: Any) -> int:
    """Rows (R, K) in groups, each by its own matrix of (E, K, N)."""
    return mm_flop(a, b[-2:])


FORMULAS = {  # operators that torch's own counter takes for nothing
    aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    aten._scaled_dot_product_attention_math_for_mps: _attention,
    aten._int_mm: _first_two,
    aten._grouped_mm: _grouped,
}


@dataclass(frozen=True)
class Count:
    """`flops` of one call; `uncounted` maps operators without a formula to how often they ran."""

    flops: int
    uncounted: dict[str, int]

    @property
    def macs(self) -> int:
        return self.flops // 2


class _Watch(TorchDispatchMode):
    """Notes operators that look like matrix work and have no formula, after composite ones were taken apart."""

    def __init__(self, known: set[Any]) -> None:
        super().__init__()
        self.known, self.seen = known, Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        packet = func._overloadpacket
        if packet not in self.known and MATRIX_LIKE.search(packet.__name__):
            self.seen[str(packet)] += 1
        return func(*args, **(kwargs or {}))


def count(call: Callable[[], Any]) -> Count:
    """Count one call."""
    counter = FlopCounterMode(display=False, custom_mapping=FORMULAS)
    watch = _Watch(set(counter.flop_registry))
    with watch, counter:
        call()
    return Count(counter.get_total_flops(), dict(watch.seen))


def flops(candidate: Callable[[], Any], baseline: Callable[[], Any]) -> dict[str, Any]:
    """The flops section: the whole timed workload, all steps, both guidance passes and the decoder."""
    own, before = count(candidate), count(baseline)
    return {
        "macs": own.macs,
        "flops": own.flops,
        "baseline_macs": before.macs,
        "baseline_flops": before.flops,
        "uncounted": own.uncounted,
    }
