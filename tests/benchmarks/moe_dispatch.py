"""What a mixture of experts costs beside a dense network, and what of it: `python -m tests.benchmarks.moe_dispatch`.

One thread, float32, 16 tokens of 32 images in two guidance passes. Candidates take turns in random order; a figure is
the first quartile over the rounds of the thread's own time, which other load on the machine moves little. `of promise`
is the time that the operations left would take at the dense network's speed over the time taken.
"""

import random
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from dit_core.measure.flops import count
from dit_core.models.dit import Mlp
from dit_core.models.experts import Mixture, one_by_one, with_experts
from dit_core.models.model import build_dit
from dit_core.models.presets import DiTConfig
from dit_core.system.runtime import keep_freed_memory

TOKENS, WIDTH, ROUNDS = 2 * 32 * 16, 192, 60
CASES = [  # experts, top_k, shared, neurons in all
    (8, 2, 0, 768),
    (8, 4, 0, 768),
    (4, 2, 0, 768),
    (16, 4, 0, 768),
    (8, 1, 1, 768),
    (8, 1, 0, 3072),
    (8, 2, 0, 3072),
    (4, 1, 0, 3072),
]


def timed(calls: dict[str, Callable[[], object]], rounds: int = ROUNDS) -> dict[str, float]:
    """Seconds of each call, taken in turns."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(rounds + 5):
        for name in random.sample(list(calls), len(calls)):
            started = time.thread_time()
            calls[name]()
            if turn >= 5:
                seconds[name].append(time.thread_time() - started)
    return {name: sorted(values)[len(values) // 4] for name, values in seconds.items()}


def parts(mixture: Mixture, rows: Tensor) -> dict[str, Callable[[], object]]:
    """The stages of a mixture's forward pass, each on what the stage before it made."""
    router, k = mixture.router, mixture.top_k
    scores = F.linear(rows, router.weight, router.bias)
    chosen = scores.topk(k, dim=1, sorted=False).indices.flatten()
    routes = router(rows)
    inputs, sizes = rows[routes.rows], routes.sizes()
    w1, b1, w2, b2 = mixture.experts()
    hidden = one_by_one(inputs, sizes, w1.transpose(1, 2), b1)
    active = F.gelu(hidden, approximate="tanh")
    outputs = one_by_one(active, sizes, w2, b2)
    return {
        "scores": lambda: F.linear(rows, router.weight, router.bias),
        "top k": lambda: scores.topk(k, dim=1, sorted=False),
        "sort": lambda: chosen.sort(stable=True),
        "gather": lambda: rows.index_select(0, routes.rows),
        "first products": lambda: one_by_one(inputs, sizes, w1.transpose(1, 2), b1),
        "gelu": lambda: F.gelu(hidden, approximate="tanh"),
        "second products": lambda: one_by_one(active, sizes, w2, b2),
        "sum": lambda: mixture._add_up(rows, outputs, routes),
    }


def layer(experts: int, top_k: int, shared: int, neurons: int) -> None:
    """One feed-forward network and the mixture of as many neurons."""
    dense = Mlp(WIDTH, neurons)
    mixture = Mixture(WIDTH, experts, top_k, neurons // experts, shared).eval()
    torch.nn.init.normal_(mixture.router.weight)
    rows = torch.randn(TOKENS, WIDTH)
    left = count(lambda: mixture(rows)).macs / count(lambda: dense(rows)).macs
    taken = timed({"dense": lambda: dense(rows), "mixture": lambda: mixture(rows), **parts(mixture, rows)})
    ratio, promise = taken["dense"] / taken["mixture"], left * taken["dense"] / taken["mixture"]
    print(f"{experts} experts of {neurons // experts} neurons, {top_k} chosen, {shared} shared")
    print(f"  dense {taken.pop('dense') * 1e3:.2f} ms, mixture {taken.pop('mixture') * 1e3:.2f} ms: ", end="")
    print(f"{ratio:.2f} times as fast with {left:.1%} of the operations, {promise:.0%} of promise")
    print("  " + ", ".join(f"{name} {seconds * 1e6:.0f} us" for name, seconds in taken.items()))


def network(experts: int, top_k: int, shared: int, mlp_ratio: float) -> None:
    """A whole network of the bundled model's size, or wider, and the mixture of as many parameters."""
    dense = build_dit(DiTConfig(8, 2, 8, WIDTH, 8, 6, mlp_ratio, 18, learn_sigma=False)).eval()
    routed = with_experts(dense, experts, top_k, shared).eval()
    for block in routed.blocks:
        block.mlp.router.gate = "one"
    x, t, y = torch.randn(64, 8, 8, 8), torch.full((64,), 500), torch.arange(64) % 18
    left = count(lambda: routed(x, t, y)).macs / count(lambda: dense(x, t, y)).macs
    taken = timed({"dense": lambda: dense(x, t, y), "mixture": lambda: routed(x, t, y)}, ROUNDS // 3)
    ratio = taken["dense"] / taken["mixture"]
    print(f"network with {mlp_ratio * WIDTH:.0f} neurons: {experts} experts, {top_k} chosen, {shared} shared: ", end="")
    print(f"{ratio:.2f} times as fast with {left:.1%} of the operations, {left * ratio:.0%} of promise")


if __name__ == "__main__":
    torch.set_num_threads(1)
    keep_freed_memory()
    torch.manual_seed(0)
    with torch.inference_mode():
        for case in CASES:
            layer(*case)
        for experts, top_k, shared, neurons in CASES:
            network(experts, top_k, shared, neurons / WIDTH)
