"""How often the paired comparison of distances is right, where the truth is known.

`python -m tests.benchmarks.verdicts --images 500 --trials 100` draws features with the covariance of the bundled
reference, of a baseline and of candidates that are equal, 2 % worse and 10 % worse, and prints the share of each
verdict. A test runs the same simulation with fewer dimensions.
"""

import argparse
import statistics

import torch

from dit_core.quality.references import bundled
from tests.quality.pairs import differences, rates

TRUE_DISTANCE = 500.0
LIKENESS = 0.9  # correlation of the features of one seed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--trials", type=int, default=100)
    options = parser.parse_args()
    torch.set_num_threads(1)
    trials = list(differences(bundled().pooled, TRUE_DISTANCE, options.images, LIKENESS, options.trials))
    for truth, shares in rates(trials).items():
        told = ", ".join(f"{verdict} {share:.0%}" for verdict, share in sorted(shares.items(), key=lambda s: -s[1]))
        print(f"{truth}: {told}")
    detectable = statistics.fmean(each["equal"].detectable for each in trials) / TRUE_DISTANCE
    print(f"{options.images} images, {options.trials} trials; smallest detectable difference {detectable:.1%}")


if __name__ == "__main__":
    main()
