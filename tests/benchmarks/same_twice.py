"""How often a run differs from itself on a busy machine: `python -m tests.benchmarks.same_twice`.

Pruning with sparsity 0 changes no weight, so both sides do the same work, while other processes keep cores busy.
"""

import argparse
import subprocess
import sys

from dit_core.experiment.prepare import Workload, prepare
from dit_core.listener import Listener
from dit_core.measure import speed
from dit_core.records.spec import RunSpec


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tries", type=int, default=20)
    parser.add_argument("--burners", type=int, default=1, help="other processes that keep a core busy")
    parser.add_argument("--model", default="emoji")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--batch-size", type=int, default=4)
    options = parser.parse_args()

    same = ({"name": "unstructured_pruning", "sparsity": 0.0},)
    spec = RunSpec(model=options.model, techniques=same, steps=options.steps, batch_size=options.batch_size, samples=0)
    prepared = prepare(spec)
    burners = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(options.burners)]
    called = 0
    try:
        for number in range(1, options.tries + 1):
            latency, speedup = speed(prepared.calls(), Workload(spec), Listener())
            different = not speedup["low"] <= 1 <= speedup["high"]
            called += different
            ratios = ", ".join(f"{ratio:.3f}" for ratio in speedup["process_ratios"])
            print(
                f"{number:3}: {speedup['ratio']:.3f} [{speedup['low']:.3f}, {speedup['high']:.3f}] of {ratios}; "
                f"{latency.get('flag', 'undisturbed')}{' DIFFERENT' if different else ''}",
                flush=True,
            )
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()
    print(f"{called} of {options.tries} called different, with {options.burners} busy processes")


if __name__ == "__main__":
    main()
