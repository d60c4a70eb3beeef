"""Records as points: which may be compared, and which of them form the Pareto front."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from dit_core import fronts
from dit_core.spec import RunRecord, RunSpec
from dit_core.store import Stored
from dit_core.techniques import canonical
from dit_core.ui import words
from dit_core.ui.axes import COSTS, Axis, relative_time

_SPECS: dict[str, RunSpec] = {}
MOST_SPECS = 4096  # of which the oldest goes first
INT4 = ({"name": "quantization", "bits": 4},)


@dataclass(frozen=True)
class Comparison:
    """Runs that may share a plot: one environment, one workload. `earlier` counts older measurements of the same."""

    environment: str
    workload: str
    runs: tuple[Stored, ...]
    earlier: int

    @property
    def title(self) -> str:
        return f"{self.workload} · {self.environment}"


def spec_of(stored: Stored) -> RunSpec:
    """The spec of a record; read once for each run, for its id is a hash of it."""
    run_id = stored.record.run_id
    spec = _SPECS.get(run_id)
    if spec is None:
        if len(_SPECS) >= MOST_SPECS:
            _SPECS.pop(next(iter(_SPECS)), None)
        spec = _SPECS[run_id] = RunSpec.from_dict(stored.record.spec)
    return spec


def comparisons(stored: Sequence[Stored]) -> list[Comparison]:
    """Records grouped by environment and workload, the largest group first; the newest measurement of each run."""
    groups: dict[tuple[str, str], dict[str, list[Stored]]] = {}
    for one in stored:
        spec = spec_of(one)
        key = (str(one.record.environment["fingerprint"]), spec.baseline.run_id)
        groups.setdefault(key, {}).setdefault(one.record.run_id, []).append(one)
    found = []
    for by_run in groups.values():
        newest = tuple(max(same, key=lambda one: one.record.created_at) for same in by_run.values())
        earlier = sum(len(same) - 1 for same in by_run.values())
        first = newest[0].record
        workload = words.workload(spec_of(newest[0]))
        found.append(Comparison(words.machine(first), workload, newest, earlier))
    return sorted(_distinct(found), key=lambda group: -len(group.runs))


def front(points: Sequence[tuple[float, float]], x: Axis, y: Axis) -> list[int]:
    """Indices of the points that no other beats, the best on x first. Equal points stay together."""
    signs = (1 if x.better == "less" else -1), (1 if y.better == "less" else -1)
    return fronts.front([(signs[0] * px, signs[1] * py) for px, py in points])


def coverage(runs: Sequence[Stored], baseline: Stored, x: Axis, y: Axis) -> tuple[float, tuple[float, float]] | None:
    """The hypervolume of runs, in the area that the baseline alone covers, and its reference point.

    The reference is twice the baseline where less is better, 0 where more is. None if the baseline lacks a figure.
    """
    own_x, own_y = x.read(baseline.record) or 0, y.read(baseline.record) or 0
    if own_x <= 0 or own_y <= 0:
        return None
    told = [(x.read(one.record), y.read(one.record)) for one in runs]
    costs = [(_cost(x, px, own_x), _cost(y, py, own_y)) for px, py in told if px is not None and py is not None]
    at_x, at_y = (fronts.REFERENCE * own if axis.better == "less" else 0.0 for axis, own in ((x, own_x), (y, own_y)))
    return fronts.hypervolume(costs, (fronts.REFERENCE, fronts.REFERENCE)), (at_x, at_y)


def highlights(runs: Sequence[Stored], quality: Axis, most: int) -> list[Stored]:
    """At most `most` recipes worth a first look, the best quality first: from the fronts of time and of weights, the
    middle one of each family before the others."""
    leading: dict[str, list[Stored]] = {}
    for cost in (COSTS["relative_time"], COSTS["weights"]):
        told = [(one, cost.read(one.record), quality.read(one.record)) for one in runs]
        known = [(one, x, y) for one, x, y in told if x is not None and y is not None]
        for i in front([(x, y) for _, x, y in known], cost, quality):
            one, spec = known[i][0], spec_of(known[i][0])
            family = leading.setdefault(words.family(spec), [])
            if spec.techniques and one not in family:
                family.append(one)
    sign = 1 if quality.better == "less" else -1
    for family in leading.values():
        family.sort(key=lambda one: sign * (quality.read(one.record) or 0))
    middles = [family[len(family) // 2] for family in leading.values() if family]
    others = [one for family in leading.values() for one in family if one not in middles]
    return sorted([*middles, *others][:most], key=lambda one: sign * (quality.read(one.record) or 0))


def first_look(runs: Sequence[Stored], quality: Axis, most: int) -> list[Stored]:
    """`highlights` after int4, of all techniques the one that most people have heard of; that one where it is known."""
    known = [one for one in runs if is_int4(one)][:1]
    return [*known, *(one for one in highlights(runs, quality, most) if one not in known)][:most]


def is_int4(one: Stored) -> bool:
    """Whether a run stores its weights in 4 bits and does nothing else."""
    return spec_of(one).techniques == canonical(INT4)


def burden(record: RunRecord) -> float:
    """Time, bytes and distance as one figure to choose by where no budget is given; unknown ones do not count."""
    figures = (relative_time(record), record.memory["weight_bytes"], record.quality["distance"])
    return math.prod(figure for figure in figures if figure)


def point_id(stored: Stored) -> str:
    """What a link and a click name. A bundled and a local record of one run have the same file name."""
    return stored.path.stem if stored.origin == "bundled" else f"{stored.path.stem}-local"


def _cost(axis: Axis, figure: float, baseline: float) -> float:
    """In the baseline's, less being better; the baseline is 1 either way."""
    share = figure / baseline
    return share if axis.better == "less" else fronts.REFERENCE - share


def _distinct(found: list[Comparison]) -> list[Comparison]:
    """Two machines can look alike in words; number them so that a choice by title is a choice."""
    titles: dict[str, int] = {}
    result = []
    for group in found:
        titles[group.title] = nth = titles.get(group.title, 0) + 1
        environment = f"{group.environment} ({nth})" if nth > 1 else group.environment
        result.append(Comparison(environment, group.workload, group.runs, group.earlier))
    return result
