"""Time of one attention layer against the number of tokens, each kind in turn with softmax attention.

    python -m tests.benchmarks.attention_scale --threads 1

The exponent is the slope of log time over log tokens: 1 is linear, 2 quadratic. Projections are linear and counted in.
"""

import argparse
import math
import random
import statistics
import time

import torch
from torch import Tensor, nn

from dit_core.models import attention
from dit_core.models.dit import Attention


def kinds(trained: Attention, grid: int, options: argparse.Namespace) -> dict[str, nn.Module]:
    """Each kind of attention, from the same trained one."""
    groups, power, kernel = options.kv_heads, options.power, options.kernel_size
    return {
        "softmax": trained,
        f"mediated, {options.mediators}": attention.MediatedAttention(trained, options.mediators, "softmax", None),
        f"mediated, {options.mediators} nearest": attention.MediatedAttention(
            trained, options.mediators, "nearest", None
        ),
        "focused linear": attention.FocusedLinearAttention(trained, power, 0),
        f"focused linear, kernel {kernel}": attention.FocusedLinearAttention(trained, power, kernel),
        f"focused group query, {groups}": attention.FocusedLinearAttention(trained, power, 0, groups),
        f"focused group query, {groups}, kernel {kernel}": attention.FocusedLinearAttention(
            trained, power, kernel, groups
        ),
        f"grouped query, {groups}": attention.GroupedQueryAttention(trained, groups),
        f"window {options.window}": attention.WindowAttention(trained, options.window, False, grid),
        f"window {options.window} shifted": attention.WindowAttention(trained, options.window, True, grid),
        f"pooled, {options.pool}": attention.PooledAttention(trained, options.pool),
    }


@torch.inference_mode()
def interleaved(layers: dict[str, nn.Module], x: Tensor, turns: int, seed: int = 0) -> dict[str, list[float]]:
    """Seconds of each layer on `x` (N, T, D): all of them once a turn, in random order, after one warm-up turn."""
    taken: dict[str, list[float]] = {name: [] for name in layers}
    order, generator = list(layers), random.Random(seed)
    for _ in range(turns + 1):
        generator.shuffle(order)
        for name in order:
            started = time.perf_counter()
            layers[name](x)
            taken[name].append(time.perf_counter() - started)
    return {name: seconds[1:] for name, seconds in taken.items()}


def slope(tokens: list[int], seconds: list[float]) -> float:
    """Least-squares slope of log time over log tokens."""
    return statistics.linear_regression([math.log(n) for n in tokens], [math.log(s) for s in seconds]).slope


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tokens", type=int, nargs="+", default=[256, 1024, 4096], help="square numbers")
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--heads", type=int, default=6)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--turns", type=int, default=7, help="at the most tokens; fewer tokens get more turns")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--mediators", type=int, default=16)
    parser.add_argument("--kv-heads", type=int, default=2)
    parser.add_argument("--power", type=int, default=3)
    parser.add_argument("--kernel-size", type=int, default=3)
    parser.add_argument("--window", type=int, default=8)
    parser.add_argument("--pool", type=int, default=2)
    options = parser.parse_args()

    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    trained = Attention(options.width, options.heads).requires_grad_(False)
    medians: dict[str, list[float]] = {}
    for tokens in options.tokens:
        turns = options.turns * max(options.tokens) // tokens
        x = torch.randn(options.batch, tokens, options.width)
        for name, seconds in interleaved(kinds(trained, math.isqrt(tokens), options), x, turns).items():
            medians.setdefault(name, []).append(statistics.median(seconds))

    print(f"width {options.width}, {options.heads} heads, batch {options.batch}, {options.threads} threads, float32")
    print("median ms (times faster than softmax), fitted exponent of time over tokens")
    print("".ljust(36) + "".join(f"{tokens:>9,} tokens    " for tokens in options.tokens) + "exponent")
    for name, seconds in medians.items():
        cells = [
            f"{1e3 * own:9.2f} ({softmax / own:6.2f}x)  "
            for own, softmax in zip(seconds, medians["softmax"], strict=True)
        ]
        print(name.ljust(36) + "".join(cells) + f"{slope(options.tokens, seconds):8.2f}")


if __name__ == "__main__":
    main()
