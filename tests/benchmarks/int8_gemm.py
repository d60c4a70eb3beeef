"""How much of what int8 promises arrives: `python -m tests.benchmarks.int8_gemm WIDTH ROWS IMAGES`, on one thread.

For each linear shape of a block of that width, on so many rows (tokens) of so many images: the ratio of the float32
layer's time to that of a bare int8 matrix product, of `Int8Linear`, of torchao's dynamic int8 layer and of torch's own,
and where the time of `Int8Linear` goes. Torch's own has one scale for all rows, in one operator: faster, but what an
image becomes would depend on the images beside it. All take turns in random order; processor time, so that other
processes matter less.
"""

import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torchao.quantization import Int8DynamicActivationInt8WeightConfig, quantize_

from dit_core.models.int8 import Int8Linear
from dit_core.system.runtime import keep_freed_memory

TURNS = 60


def best_times(calls: dict[str, Callable[[], Any]]) -> dict[str, float]:
    """Least processor seconds of each call, over turns in random order."""
    best = dict.fromkeys(calls, float("inf"))
    for _ in range(TURNS):
        for name in random.sample(list(calls), len(calls)):
            started = time.thread_time()
            calls[name]()
            best[name] = min(best[name], time.thread_time() - started)
    return best


def calls_of(rows: int, inputs: int, outputs: int) -> dict[str, Callable[[], Any]]:
    """The layer in float32, by torchao and by `Int8Linear`, and the three parts of the last."""
    x, layer = torch.randn(rows, inputs), nn.Linear(inputs, outputs).requires_grad_(False)
    ours, theirs = Int8Linear(layer), nn.Linear(inputs, outputs).requires_grad_(False)
    quantize_(theirs, Int8DynamicActivationInt8WeightConfig(set_inductor_config=False))
    zeros = torch.zeros(outputs, dtype=torch.long)
    by_row = torch._make_per_channel_quantized_tensor(ours.codes, ours.scale.double(), zeros, 0)
    own = torch.ops.quantized.linear_prepack(by_row, ours.bias)
    codes, scale = ours._round(x)
    weight: Tensor = ours.codes.t()
    products = torch._int_mm(codes, weight)
    return {
        "float32": lambda: layer(x),
        "bare int8 product": lambda: torch._int_mm(codes, weight),
        "Int8Linear": lambda: ours(x),
        "torchao": lambda: theirs(x),
        "torch's own": lambda: torch.ops.quantized.linear_dynamic(x, own),
        "rounding activations": lambda: ours._round(x),
        "scaling outputs": lambda: torch.addcmul(ours.bias, products * ours.scale, scale),
    }


@torch.inference_mode()
def main(width: int, rows: int, images: int) -> None:
    torch.set_num_threads(1)
    keep_freed_memory()
    shapes = {
        "attn.qkv": (rows, width, 3 * width),
        "attn.proj": (rows, width, width),
        "mlp.fc1": (rows, width, 4 * width),
        "mlp.fc2": (rows, 4 * width, width),
        "adaLN_modulation.1": (images, width, 6 * width),
    }
    total: Counter[str] = Counter()
    for name, shape in shapes.items():
        times = best_times(calls_of(*shape))
        total.update(times)
        print(f"{name:20}", _ratios(times))
    print(f"{'a block':20}", _ratios(total))


def _ratios(times: dict[str, float]) -> str:
    return ", ".join(f"{name} {times['float32'] / s:.2f}x ({1e6 * s:.0f} us)" for name, s in times.items())


if __name__ == "__main__":
    main(*map(int, sys.argv[1:4]))
