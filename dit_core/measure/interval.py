"""The interval of a speed-up that was timed in a few processes.

Turns of one process tell nothing of what differs from process to process: where memory happened to lie, the clock of
the moment. So each process gives one logarithm of a ratio, and the interval is Student's over these. With three of them
their spread is by chance below half the true one in a fifth of all cases, and those make nearly all the errors. Two
floors keep them out: what the turns within a process tell, and what processes differ by at least. A floor only widens,
so noise of any size, as far as it is normal, stays within the stated confidence.
"""

import math
import random
import statistics
from collections.abc import Sequence

from dit_core.measure.turns import PairTiming

CONFIDENCE = 0.95
FULL = 3  # processes that tell a spread
LEAST_SPREAD, ASSUMED_SPREAD = 0.01, 0.02  # of log ratios over processes: never less; where fewer than FULL tell


def interval(processes: Sequence[PairTiming], draws: int = 200, seed: int = 0) -> tuple[float, float]:
    """Of the ratio over up to three processes; it contains the ratio of the pooled medians."""
    logs = [math.log(one.ratio()) for one in processes]
    spread = statistics.stdev(logs) if len(logs) > 1 else 0.0
    least = LEAST_SPREAD if len(logs) >= FULL else ASSUMED_SPREAD
    noise = math.sqrt(statistics.fmean(turn_spread(one, draws, seed) ** 2 for one in processes))
    half = _student(CONFIDENCE) * max(spread, noise, least) / math.sqrt(len(logs))
    middle, pooled = statistics.fmean(logs), math.log(ratio(processes))
    return math.exp(min(middle - half, pooled)), math.exp(max(middle + half, pooled))


def ratio(processes: Sequence[PairTiming]) -> float:
    """The speed-up over all calls of all processes: median time of the baseline over median time of the candidate."""
    return PairTiming(*pooled(processes)).ratio()


def pooled(processes: Sequence[PairTiming]) -> tuple[list[float], list[float]]:
    """Raw seconds of baseline and candidate, one process after another."""
    return [s for one in processes for s in one.baseline_s], [s for one in processes for s in one.candidate_s]


def turn_spread(timing: PairTiming, draws: int = 200, seed: int = 0) -> float:
    """Standard error of one process's log ratio: bootstrap of whole turns, so that what hit both sides stays together.

    It is blind to noise that lasts for several turns. Draws from n turns spread by (n - 1) / n of what new turns would.
    """
    generator, turns = random.Random(seed), timing.turns()
    logs = []
    for _ in range(draws):
        drawn = generator.choices(turns, k=len(turns))
        base, own = ([second for turn in drawn for second in turn[side]] for side in (0, 1))
        logs.append(math.log(PairTiming(base, own).ratio()))
    return statistics.stdev(logs) * math.sqrt(len(turns) / max(1, len(turns) - 1))


def _student(confidence: float) -> float:
    """Two-sided quantile of Student's t with two degrees of freedom, those of three processes: a closed form."""
    return confidence / math.sqrt((1 - confidence * confidence) / 2)
