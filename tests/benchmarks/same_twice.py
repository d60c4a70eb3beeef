"""How often a run is called different from itself, through the whole chain: `python -m tests.benchmarks.same_twice`.

Both sides of every try do the same work: pruning with sparsity 0 changes no weight. Each try goes through the chain of
a run, and each verdict is the one that pages and claims draw:

- speed: the interval of the speed-up does not contain 1;
- memory: the interval of the saving of peak memory, in processes of their own, does not contain 0;
- distance: the interval of the paired difference does not contain 0. The same seeds would give the same images, so each
  side draws images of its own: pairs then cancel nothing, which is the hardest case.

At most 1 of 20 may be called different. The command ends with exit code 1 if a figure is called different so often that
this is unlikely (5 %) for a rate of 1 in 20. `--burners` keeps processors busy meanwhile.
"""

import argparse
import subprocess
import sys

import torch
from scipy.special import bdtr
from torch import Tensor

from dit_core.analysis.claim_figures import FIGURES
from dit_core.experiment.prepare import Prepared, Workload, prepare
from dit_core.listener import Listener
from dit_core.measure import speed
from dit_core.measure.memory import peak_memory, weights_of
from dit_core.quality.efficientnet import extract
from dit_core.quality.frechet import Difference, SubsetDistance, difference_of
from dit_core.quality.references import reference_of
from dit_core.records.paired import verdict_on
from dit_core.records.record import RunRecord
from dit_core.records.spec import RunSpec
from dit_core.system.environment import environment

RATE = 1 / 20  # of a figure that is called different from itself
SAME = ({"name": "unstructured_pruning", "sparsity": 0.0},)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tries", type=int, default=20)
    parser.add_argument("--images", type=int, default=120, help="of each side of a try; 100 or more (default: 120)")
    parser.add_argument("--burners", type=int, default=1, help="other processes that keep a core busy")
    parser.add_argument("--model", default="emoji")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()

    same = RunSpec(
        model=options.model,
        techniques=SAME,
        steps=options.steps,
        batch_size=options.batch_size,
        device=options.device,
    )
    prepared = prepare(same)
    burners = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(options.burners)]
    called = dict.fromkeys(("speed", "memory", "distance"), 0)
    try:
        for number in range(options.tries):
            verdicts = one_try(prepared, number, options.images)
            for name, (is_different, text) in verdicts.items():
                called[name] += is_different
                print(f"{number + 1:3} {name}: {text}{' DIFFERENT' if is_different else ''}", flush=True)
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()
    most = most_by_chance(options.tries)
    for name, count in called.items():
        print(f"{name}: {count} of {options.tries} called different; up to {most} are likely for a rate of 1 in 20")
    print(f"with {options.burners} busy processes, {options.images} images")
    return int(any(count > most for count in called.values()))


def one_try(prepared: Prepared, number: int, images: int) -> dict[str, tuple[bool, str]]:
    """Return of each figure whether it is called different, and its value with its interval as text."""
    _, speedup = speed(prepared.calls(), Workload(prepared.spec), Listener())
    is_faster = not speedup["low"] <= 1 <= speedup["high"]
    figure = peak_saving(prepared)
    difference = distance_difference(prepared, number, images)
    return {
        "speed": (is_faster, f"{speedup['ratio']:.3f} [{speedup['low']:.3f}, {speedup['high']:.3f}]"),
        "memory": (not figure[1] <= 0 <= figure[2], "{:+.3f} [{:+.3f}, {:+.3f}]".format(*figure)),
        "distance": (
            verdict_on(difference.low, difference.high) != "no difference detected",
            f"{difference.value:+.1f} [{difference.low:+.1f}, {difference.high:+.1f}]",
        ),
    }


def peak_saving(prepared: Prepared) -> tuple[float, float, float]:
    """Return the saving of peak memory with its interval, from a process for each side."""
    spec, networks = prepared.spec, (prepared.candidate.dit, prepared.baseline.dit)
    here = environment(spec.device)
    candidate, baseline = (
        RunRecord(side.run_id, "done", side.to_dict(), here, memory=weights_of(*networks) | peak_memory(Workload(side)))
        for side in (spec, spec.baseline)
    )
    figure = FIGURES["peak_saving"].compute(candidate, baseline)
    if figure is None:
        raise RuntimeError(f"no peak: {candidate.memory.get('reason') or baseline.memory.get('reason')}")
    return figure.value, figure.low, figure.high


def distance_difference(prepared: Prepared, number: int, images: int) -> Difference:
    """Return the difference of the distances of two sets of images that no other set of this command contains."""
    reference, classes = reference_of(prepared.spec.model, "").pooled, len(prepared.baseline.classes)
    apart = -(-images // classes) * classes  # so that both sets begin with the same class

    def features(first: int) -> Tensor:
        parts = []
        for start in range(0, images, prepared.batch):
            count = min(prepared.batch, images - start)
            parts.append(extract(prepared.decoded(prepared.baseline, count, first=first + start).images).pooled)
        return torch.cat(parts)

    firsts = (2 * number * apart, (2 * number + 1) * apart)
    return difference_of(*(SubsetDistance(features(first), reference) for first in firsts))


def most_by_chance(tries: int) -> int:
    """Return the largest count that a rate of RATE exceeds in less than 5 % of all cases."""
    return next(count for count in range(tries + 1) if bdtr(count, tries, RATE) >= 0.95)


if __name__ == "__main__":
    raise SystemExit(main())
