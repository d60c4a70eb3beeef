"""The interval of a speed-up that was timed in a few processes.

The turns of one process contain no information about differences between processes, such as the place of memory and the
clock. Each process therefore gives one logarithm of a ratio, and the interval is Student's over these. With three
processes the estimated spread is below half of the true one in a fifth of all cases, and these cases cause nearly all
errors. Two floors prevent them: the spread of turns within a process, and a least spread between processes. A floor
only widens the interval, so for normal noise of any size the stated confidence holds.
"""

import math
import random
import statistics
from collections.abc import Sequence

from dit_core.measure.interleaved import PairTiming
from dit_core.system.statistics import student_quantile

CONFIDENCE = 0.95
FULL = 3  # processes needed for a spread
LEAST_SPREAD, ASSUMED_SPREAD = 0.01, 0.02  # of log ratios over processes: never less; where fewer than FULL tell


def interval(processes: Sequence[PairTiming], draws: int = 200, seed: int = 0) -> tuple[float, float]:
    """Return the interval of the speed-up over up to three processes. It contains the ratio of the pooled medians."""
    logs = [math.log(one.ratio()) for one in processes]
    spread = statistics.stdev(logs) if len(logs) > 1 else 0.0
    least = LEAST_SPREAD if len(logs) >= FULL else ASSUMED_SPREAD
    noise = math.sqrt(statistics.fmean(turn_spread(one, draws, seed) ** 2 for one in processes))
    half = student_quantile(FULL - 1, CONFIDENCE) * max(spread, noise, least) / math.sqrt(len(logs))
    middle, pooled = statistics.fmean(logs), math.log(ratio(processes))
    return math.exp(min(middle - half, pooled)), math.exp(max(middle + half, pooled))


def ratio(processes: Sequence[PairTiming]) -> float:
    """Return the speed-up over all calls of all processes: the ratio of the median times of baseline and candidate."""
    return PairTiming(*pooled(processes)).ratio()


def pooled(processes: Sequence[PairTiming]) -> tuple[list[float], list[float]]:
    """Return the raw seconds of baseline and candidate, one process after the other."""
    return [s for one in processes for s in one.baseline_s], [s for one in processes for s in one.candidate_s]


def turn_spread(timing: PairTiming, draws: int = 200, seed: int = 0) -> float:
    """Return the standard error of one process's log ratio, by a bootstrap over whole turns.

    A disturbance that affects both sides of a turn stays together. Noise over several turns is not seen. The variance
    of draws from n turns is (n - 1) / n of that of new turns.
    """
    generator, turns = random.Random(seed), timing.turns()
    logs = []
    for _ in range(draws):
        drawn = generator.choices(turns, k=len(turns))
        base, own = ([second for turn in drawn for second in turn[side]] for side in (0, 1))
        logs.append(math.log(PairTiming(base, own).ratio()))
    return statistics.stdev(logs) * math.sqrt(len(turns) / max(1, len(turns) - 1))
