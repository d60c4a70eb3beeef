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
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode, mm_flop, sdpa_flop_count

from dit_core.measure.memory import plain_tensors

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
INT8 = {aten._int_mm}


@dataclass(frozen=True)
class Count:
    """`flops` of one call, `int8_ops` of them on int8; `uncounted` maps operators without a formula to how often they
    ran.

    `moved_bytes` is what every operator read and wrote, as if no cache kept anything between two of them.
    """

    flops: int
    uncounted: dict[str, int]
    int8_ops: int = 0
    moved_bytes: int = 0

    @property
    def macs(self) -> int:
        return self.flops // 2


class _Watch(TorchDispatchMode):
    """Sees operators after composite ones were taken apart: adds up their bytes, and notes those that look like matrix
    work and have no formula."""

    def __init__(self, known: set[Any]) -> None:
        super().__init__()
        self.known, self.seen, self.bytes = known, Counter(), 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        packet = func._overloadpacket
        if packet not in self.known and MATRIX_LIKE.search(packet.__name__):
            self.seen[str(packet)] += 1
        out = func(*args, **(kwargs or {}))
        if not func.is_view:
            tensors = [one for one in tree_leaves((args, kwargs, out)) if isinstance(one, torch.Tensor)]
            self.bytes += sum(plain.numel() * plain.element_size() for one in tensors for plain in plain_tensors(one))
        return out


def count(call: Callable[[], Any]) -> Count:
    """Count one call."""
    counter = FlopCounterMode(display=False, custom_mapping=FORMULAS)
    watch = _Watch(set(counter.flop_registry))
    with watch, counter:
        call()
    by_operator = counter.get_flop_counts().get("Global", {})
    int8_ops = sum(done for operator, done in by_operator.items() if operator in INT8)
    return Count(counter.get_total_flops(), dict(watch.seen), int8_ops, watch.bytes)


def flops(candidate: Callable[[], Any], baseline: Callable[[], Any]) -> dict[str, Any]:
    """The flops section: the whole timed workload, all steps, both guidance passes and the decoder."""
    own, before = count(candidate), count(baseline)
    return {
        "macs": own.macs,
        "flops": own.flops,
        "baseline_macs": before.macs,
        "baseline_flops": before.flops,
        "uncounted": own.uncounted,
        "int8_ops": own.int8_ops,
        "moved_bytes": own.moved_bytes,
        "baseline_moved_bytes": before.moved_bytes,
        "arithmetic_intensity_flop_per_byte": own.flops / own.moved_bytes,
    }
