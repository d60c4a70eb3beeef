"""How cost grows with tokens, width, depth and batch size, from records of random weights. Imports no torch.

Times of different runs vary with other load on the machine; the ratio of two times in one run does not. Therefore the
baseline's time at a size is the median over all runs of that size, and a technique's time is that median divided by the
technique's speed-up in its own run.

A run of only `depth_pruning` counts as the baseline at its remaining depth.
"""

import json
import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

from dit_core.models import sources
from dit_core.records import metrics
from dit_core.records.record import RunRecord

Recipe = tuple[dict[str, Any], ...]
DIMENSIONS = ("tokens", "width", "depth", "batch")


class Size(NamedTuple):
    """Size of a network and its input: tokens of one image, width, number of blocks, images per call."""

    tokens: int
    width: int
    depth: int
    batch: int


class Range(NamedTuple):
    """A value with its interval; without an interval both ends equal the value."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Point:
    """One recipe at one size; the empty recipe is the baseline. Time and FLOPs are those of one call.

    `speedup` is relative to the baseline of the same run. `attention` is attention's share of the time, None if
    unknown; `attention_flops` is the share of softmax attention in the FLOPs, None for a recipe.
    """

    record: RunRecord
    size: Size
    recipe: Recipe
    time_s: Range
    speedup: Range
    flops: int
    attention: float | None
    attention_flops: float | None = None


@dataclass(frozen=True)
class Line:
    """The points of one recipe along one dimension, in ascending order."""

    recipe: Recipe
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Scaling:
    """Lines along `dimension`, the baseline first. The rest of the size, the workload and the environment are equal."""

    dimension: str
    fixed: Size  # 0 where it varies
    lines: tuple[Line, ...]

    @property
    def record(self) -> RunRecord:
        """One of the records, to read what all of them share."""
        return self.lines[0].points[0].record

    def places(self) -> list[int]:
        """Return the positions of all points along the dimension, in ascending order."""
        return sorted({at(point, self.dimension) for line in self.lines for point in line.points})


class Crossing(NamedTuple):
    """From how many tokens a recipe is faster: `at` a number, `below` the smallest or `beyond` the largest measured."""

    side: Literal["below", "at", "beyond"]
    tokens: float


def scalings(records: Iterable[RunRecord], dimension: str) -> list[Scaling]:
    """Return the groups of comparable lines along one of DIMENSIONS, the group with the most points first.

    A line has at least two points.
    """
    groups: dict[Any, dict[str, dict[int, Point]]] = defaultdict(lambda: defaultdict(dict))
    for point in _points(records):
        key = point.size._replace(**{dimension: 0}), _workload(point.record)
        groups[key][json.dumps(point.recipe)].setdefault(at(point, dimension), point)
    result = []
    for (fixed, _), recipes in groups.items():
        ordered = [tuple(by_place[place] for place in sorted(by_place)) for by_place in recipes.values()]
        lines = [Line(points[0].recipe, points) for points in ordered if len(points) > 1]
        if lines:
            result.append(Scaling(dimension, fixed, tuple(sorted(lines, key=lambda line: json.dumps(line.recipe)))))
    return sorted(result, key=lambda scaling: -sum(len(line.points) for line in scaling.lines))


def at(point: Point, dimension: str) -> int:
    """Return the position of a point along a dimension."""
    return getattr(point.size, dimension)


def exponent(places: Sequence[float], costs: Sequence[float]) -> float:
    """Return the least-squares slope of log cost over log position: 1 is linear, 2 quadratic.

    Raises statistics.StatisticsError for fewer than two positions.
    """
    return statistics.linear_regression([math.log(x) for x in places], [math.log(y) for y in costs]).slope


def crossing(tokens: Sequence[int], speedups: Sequence[float]) -> Crossing:
    """Return from how many tokens every measured speed-up is above 1.

    Between two sizes, log speed-up is interpolated over log tokens.
    """
    first = len(tokens)
    while first and speedups[first - 1] > 1:
        first -= 1
    if first == len(tokens):
        return Crossing("beyond", tokens[-1])
    if first == 0:
        return Crossing("below", tokens[0])
    below, above = math.log(speedups[first - 1]), math.log(speedups[first])
    left, right = math.log(tokens[first - 1]), math.log(tokens[first])
    return Crossing("at", math.exp(left + (right - left) * below / (below - above)))


def softmax_flops(size: Size) -> int:
    """Return the FLOPs of softmax attention with its projections in one pass: 8 T D^2 + 4 T^2 D per block, image."""
    return size.batch * size.depth * (8 * size.tokens * size.width**2 + 4 * size.tokens**2 * size.width)


def _points(records: Iterable[RunRecord]) -> list[Point]:
    """Return a point for the newest record of each run of random weights; depth-pruned networks are last."""
    newest: dict[tuple[str, str], RunRecord] = {}
    oldest_first = list(records)[::-1]  # given with the newest first, also of those made in the same second
    oldest_first.sort(key=lambda record: record.created_at)
    for record in oldest_first:
        if record.status == "done" and sources.is_cost_only(record.spec["model"]):
            newest[record.environment["fingerprint"], record.run_id] = record
    baselines: dict[Any, list[float]] = defaultdict(list)
    timed: list[RunRecord] = []
    for record in newest.values():
        baseline_s = metrics.LATENCY.read_baseline(record) or metrics.LATENCY.read(record)
        if baseline_s is not None and metrics.SPEEDUP.read(record) is not None:
            baselines[_baseline_key(record)].append(baseline_s)
            timed.append(record)
    points = [_point(record, baselines[_baseline_key(record)]) for record in timed]
    return sorted(points, key=lambda point: bool(point.record.spec["techniques"]) and not point.recipe)


def _point(record: RunRecord, baseline_s: list[float]) -> Point:
    recipe, size = tuple(record.spec["techniques"]), _size(record.spec)
    middle = statistics.median(baseline_s)
    shares, flops = record.latency.get("time_shares") or {}, int(metrics.FLOPS.read(record) or 0)
    plain = Point(
        record,
        size,
        (),
        Range(middle, min(baseline_s), max(baseline_s)),
        Range(1, 1, 1),
        flops,
        shares.get("attention"),
    )
    if not recipe:
        passes = record.spec["steps"] * (1 if record.spec["guidance"] == 1 else 2)
        return replace(plain, attention_flops=passes * softmax_flops(size) / flops if flops else None)
    ratio = metrics.SPEEDUP.read(record) or 1.0
    speedup = Range(ratio, *(metrics.SPEEDUP.interval(record) or (ratio, ratio)))
    time_s = Range(*(middle / ratio for ratio in (speedup.value, speedup.high, speedup.low)))
    if [technique["name"] for technique in recipe] == ["depth_pruning"]:
        size, recipe = size._replace(depth=recipe[0]["keep"]), ()
    return replace(plain, size=size, recipe=recipe, time_s=time_s, speedup=speedup)


def _size(spec: dict[str, Any]) -> Size:
    network = sources.find(spec["model"]).size
    assert network is not None  # every cost-only model has a size
    return Size(network.tokens, network.hidden_size, network.depth, spec["batch_size"])


def _workload(record: RunRecord) -> tuple:
    """Return what has to be equal besides the size: the environment and the rest of the spec."""
    fixed = {key: value for key, value in record.spec.items() if key not in ("model", "techniques", "batch_size")}
    return record.environment["fingerprint"], json.dumps(fixed, sort_keys=True)


def _baseline_key(record: RunRecord) -> tuple:
    return *_workload(record), record.spec["model"], record.spec["batch_size"]
