"""A forked process against a new interpreter: `python -m tests.benchmarks.fresh_process compare`.

Both take turns in random order. Told are the seconds of the wall and of a processor until each is ready, the peak
memory that each finds for two recipes, and the speed-up for one of them, with its spread.
"""

import argparse
import json
import random
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from dit_core import experiment, fresh, zygote
from dit_core.measure.apart import elsewhere
from dit_core.measure.memory import peak_memory
from dit_core.measure.turns import Plan
from dit_core.spec import RunSpec

WAYS = ("fork", "interpreter")
RECIPES: dict[str, tuple[dict[str, Any], ...]] = {
    "half of the blocks": ({"name": "depth_pruning", "keep": 4, "importance": "even"},),
    "dynamic int8": ({"name": "quantization", "mode": "dynamic-int8"},),
}


def main() -> None:
    """What the fresh process does: it tells the processor seconds that it took to be ready."""
    print(json.dumps([hasattr(experiment, "run"), time.process_time()]))


def compare() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("compare", choices=["compare"])
    parser.add_argument("--tries", type=int, default=5)
    parser.add_argument(
        "--speed-ups", type=int, default=0, help="processes of each kind that time a speed-up, 10 s each"
    )
    options = parser.parse_args()
    if not zygote.keep():
        parser.error("No zygote can be kept here.")
    ready = _in_turn(options.tries, _ready)
    for way in WAYS:
        wall, processor = (statistics.median(column) for column in zip(*ready[way], strict=True))
        print(f"{way:12} ready after {wall:.2f} s, {processor:.2f} s of a processor", flush=True)
    ratio = statistics.median(new[0] / fork[0] for new, fork in zip(ready["interpreter"], ready["fork"], strict=True))
    print(f"a fork is ready {ratio:.0f} times sooner")
    for name, recipe in RECIPES.items():
        spec = RunSpec(techniques=recipe, steps=4)
        found = _in_turn(options.tries, lambda spec=spec: peak_memory(spec)["peak_memory_bytes"] / 1e6)
        print(f"peak memory, {name}:", _both(found, "MB"), flush=True)
    if options.speed_ups:
        spec = RunSpec(techniques=RECIPES["half of the blocks"], steps=4)
        ratios = _in_turn(
            options.speed_ups, lambda: elsewhere(spec, Plan(), random.randrange(1000), 600, lambda: None).timing.ratio()
        )
        print("speed-up, half of the blocks:", _both(ratios, "x"))


def _ready() -> tuple[float, float]:
    started = time.perf_counter()
    _, processor_s = fresh.ask("tests.benchmarks.fresh_process", "", 600)
    return time.perf_counter() - started, processor_s


def _in_turn(tries: int, measure: Callable[[], Any]) -> dict[str, list[Any]]:
    """What both ways find, in so many turns."""
    found: dict[str, list[Any]] = {way: [] for way in WAYS}
    kept = zygote._kept
    for _ in range(tries):
        for way in random.sample(WAYS, len(WAYS)):
            zygote._kept = kept if way == "fork" else None
            found[way].append(measure())
    zygote._kept = kept
    return found


def _both(found: dict[str, list[float]], unit: str) -> str:
    return "; ".join(
        f"{way} {statistics.median(v):.2f} {unit} ({min(v):.2f} to {max(v):.2f})" for way, v in found.items()
    )


if __name__ == "__main__":
    compare() if sys.argv[1:] else main()
