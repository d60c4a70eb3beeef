"""Count the operations of a call, operator by operator, while it runs eagerly.

A multiply-accumulate is two floating point operations; int8 products count like float ones. Matrix products,
convolutions and attention are counted. An operator whose name suggests one of them but that has no formula is listed.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode, bmm_flop, mm_flop, sdpa_flop_count

from dit_core.measure.memory import plain_tensors

aten = torch.ops.aten
MATRIX_LIKE = re.compile(r"mm|matmul|mv|dot|linear|conv|attention|einsum|lstm|gru|rnn|packed$")
# Names that match although the operator multiplies no matrices: gamma functions, cumulative extrema, interpolation,
# packing and other layouts of weights, symmetric ranges, and the element-wise parts of recurrent cells.
NO_MATRIX = re.compile(
    r"gamma|cumm|hamming|dummy|upsample|convert|(un|pre)pack(_|$)|pack_(gemm|quantized)_matrix|quantize_weight|reorder"
    r"|flatten_weight|symmetric|_thnn_"
)


def matrix_like(name: str) -> bool:
    """Return whether the name of an operator suggests that it multiplies matrices."""
    return bool(MATRIX_LIKE.search(name)) and not NO_MATRIX.search(name)


def _attention(query: Any, key: Any, value: Any, *args: Any, **kwargs: Any) -> int:
    return sdpa_flop_count(query, key, value)


def _first_two(a: Any, b: Any, *args: Any, **kwargs: Any) -> int:
    return mm_flop(a, b)


def _added(added: Any, a: Any, b: Any, *args: Any, **kwargs: Any) -> int:
    """A sum plus the product of matrices (M, K) and (K, N)."""
    return mm_flop(a, b)


def _added_batches(added: Any, a: Any, b: Any, *args: Any, **kwargs: Any) -> int:
    """A sum plus products of matrices (B, M, K) and (B, K, N)."""
    return bmm_flop(a, b)


def _grouped(a: Any, b: Any, *args: Any, **kwargs: Any) -> int:
    """Rows (R, K) in groups, each by its own matrix of (E, K, N)."""
    return mm_flop(a, b[-2:])


def _linear(x: Any, *args: Any, out_shape: Any, **kwargs: Any) -> int:
    """Rows (..., K) by packed weights into (..., N); the shape of packed weights is not that of the matrix."""
    return 2 * math.prod(out_shape) * x[-1]


def _half_linear(x: Any, *args: Any, out_shape: Any, **kwargs: Any) -> int:
    """Rows (..., K) by 2:4 sparse weights: two of four products are computed."""
    return _linear(x, out_shape=out_shape) // 2


def _half_product(sparse: Any, meta: Any, dense: Any, *args: Any, out_shape: Any, **kwargs: Any) -> int:
    """A 2:4 sparse (M, K) by a dense (K, N): two of four products are computed."""
    return math.prod(out_shape) * dense[0]


def _half_added(added: Any, sparse: Any, meta: Any, dense: Any, *args: Any, out_shape: Any, **kwargs: Any) -> int:
    return _half_product(sparse, meta, dense, out_shape=out_shape)


def _half_compressed(sparse: Any, dense: Any, *args: Any, out_shape: Any, **kwargs: Any) -> int:
    return _half_product(sparse, None, dense, out_shape=out_shape)


def _recurrent(x: Any, of_input: Any, of_state: Any, *args: Any, **kwargs: Any) -> int:
    """One layer over rows (T, N, I): each is multiplied by the input's weights (G H, I) and the state's (G H, H)."""
    return 2 * math.prod(x[:-1]) * (math.prod(of_input) + math.prod(of_state))


def _present(names: str) -> list[Any]:
    """Return the operators with these names, `namespace.operator`, that this build of torch has."""
    parts = (name.split(".") for name in names.split())
    return [packet for space, name in parts if (packet := getattr(getattr(torch.ops, space), name, None)) is not None]


DYNAMIC_INT8 = _present(
    "quantized.linear_dynamic quantized.linear_relu_dynamic sparse.qlinear_dynamic sparse.qlinear_relu_dynamic "
    "onednn.qlinear_pointwise aten.fbgemm_linear_int8_weight aten.fbgemm_linear_int8_weight_fp32_activation"
)
FLOAT_PACKED = _present(
    "quantized.linear_dynamic_fp16 quantized.linear_relu_dynamic_fp16 aten.fbgemm_linear_fp16_weight "
    "aten.fbgemm_linear_fp16_weight_fp32_activation aten._weight_int8pack_mm aten._weight_int4pack_mm "
    "aten._weight_int4pack_mm_for_cpu aten._dyn_quant_matmul_4bit torchao.da8w4_linear_cpu"
)
FORMULAS = {  # operators that torch's own counter counts as 0
    aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    aten._scaled_dot_product_attention_math_for_mps: _attention,
    aten._int_mm: _first_two,
    aten._grouped_mm: _grouped,
    **dict.fromkeys((aten._addmm_activation, aten.addmm_), _added),
    **dict.fromkeys((aten.addbmm, aten.addbmm_, aten.baddbmm_), _added_batches),
    **dict.fromkeys((*DYNAMIC_INT8, *FLOAT_PACKED), _linear),
    aten._sparse_semi_structured_linear: _half_linear,
    aten._sparse_semi_structured_mm: _half_product,
    aten._sparse_semi_structured_addmm: _half_added,
    aten._cslt_sparse_mm: _half_compressed,
    aten.mkldnn_rnn_layer: _recurrent,
}
INT8 = {aten._int_mm, *DYNAMIC_INT8}


@dataclass(frozen=True)
class Count:
    """Operations of one call: `flops`, of which `int8_ops` are on int8.

    `uncounted` maps operators without a formula to their number of calls. `moved_bytes` is what all operators read and
    wrote, as if no cache kept anything between two of them. `by_type` has the operations by the type of the numbers
    that are multiplied: a layer of few bits that fits no kernel multiplies in another type than its name says.
    """

    flops: int
    uncounted: dict[str, int]
    int8_ops: int = 0
    moved_bytes: int = 0
    by_type: dict[str, int] = field(default_factory=dict)

    @property
    def macs(self) -> int:
        return self.flops // 2


def multiplied_type(operator: Any, args: Sequence[Any]) -> str:
    """Return the type of the numbers that an operator multiplies: "int8", "bfloat16", "tf32".

    Packed weights are unpacked to the type of the other matrix.
    """
    if operator in INT8:
        return "int8"
    matrices = [leaf for leaf in tree_leaves(args) if isinstance(leaf, torch.Tensor) and leaf.ndim > 1]
    first = next((each for each in matrices if each.is_floating_point()), matrices[0] if matrices else None)
    if first is None:
        return "unknown"
    tf32 = first.is_cuda and first.dtype == torch.float32 and torch.backends.cuda.matmul.allow_tf32
    return "tf32" if tf32 else str(first.dtype).removeprefix("torch.")


class _OperatorObserver(TorchDispatchMode):
    """Adds up the bytes of all operators and counts those that seem to multiply matrices but have no formula.

    It runs below autograd, where composite operators are already decomposed.
    """

    def __init__(self, formulas: Mapping[Any, Any]) -> None:
        super().__init__()
        self.formulas, self.uncounted, self.by_type, self.bytes = formulas, Counter(), Counter(), 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        packet = func._overloadpacket
        if packet not in self.formulas and matrix_like(packet.__name__):
            self.uncounted[str(packet)] += 1
        out = func(*args, **(kwargs or {}))
        if packet in self.formulas:
            self.by_type[multiplied_type(packet, args)] += self.formulas[packet](*args, **(kwargs or {}), out_val=out)
        if not func.is_view:
            tensors = [leaf for leaf in tree_leaves((args, kwargs, out)) if isinstance(leaf, torch.Tensor)]
            self.bytes += sum(
                plain.numel() * plain.element_size() for tensor in tensors for plain in plain_tensors(tensor)
            )
        return out


def flop_counter() -> FlopCounterMode:
    """Return a context manager that counts operations by torch's formulas and FORMULAS."""
    return FlopCounterMode(display=False, custom_mapping=FORMULAS)


def count(call: Callable[[], Any]) -> Count:
    """Run `call` once and count its operations. A compiled network runs uncompiled."""
    counter = flop_counter()
    observer = _OperatorObserver(counter.flop_registry)
    with torch.compiler.set_stance("force_eager"), observer, counter:
        call()
    by_operator = counter.get_flop_counts().get("Global", {})
    int8_ops = sum(operations for operator, operations in by_operator.items() if operator in INT8)
    by_type = {name: operations for name, operations in observer.by_type.most_common() if operations}
    return Count(counter.get_total_flops(), dict(observer.uncounted), int8_ops, observer.bytes, by_type)


def flops(candidate: Callable[[], Any], baseline: Callable[[], Any]) -> dict[str, Any]:
    """Return the flops section of a record, for one call of each side.

    A call is the timed workload: all steps, both guidance passes and the decoder.
    """
    own, base = count(candidate), count(baseline)
    return {
        "macs": own.macs,
        "flops": own.flops,
        "baseline_macs": base.macs,
        "baseline_flops": base.flops,
        "uncounted": own.uncounted,
        "int8_ops": own.int8_ops,
        "macs_by_type": {name: operations // 2 for name, operations in own.by_type.items()},
        "moved_bytes": own.moved_bytes,
        "baseline_moved_bytes": base.moved_bytes,
        "arithmetic_intensity_flop_per_byte": own.flops / own.moved_bytes,
    }
