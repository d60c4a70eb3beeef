"""How cost grows with tokens, width, depth and batch, told by records of random weights. Imports no torch.

Milliseconds of different runs are noisy, ratios within a run are not. So a technique's time is that of the baseline of
its size divided by its speed-up over the baseline of its own run, and the baseline's time is the median over all runs
of that size: latency times speed-up is the baseline's time of a run.

Depth comes from cut networks: a run of `depth_pruning` alone counts as the baseline at that depth.
"""

import json
import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

from dit_core.models import catalog
from dit_core.spec import RunRecord

Recipe = tuple[dict[str, Any], ...]
DIMENSIONS = ("tokens", "width", "depth", "batch")


class Size(NamedTuple):
    """Of a network and of what it is given: tokens of one image, width, blocks, images a call."""

    tokens: int
    width: int
    depth: int
    batch: int


class Range(NamedTuple):
    """A figure with its interval; both ends are the figure where it has none."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Point:
    """One recipe at one size; the empty recipe is the baseline. Time and FLOPs are of one call.

    `speedup` is over the baseline of the same run. `attention` is the share of attention in the time, None where it is
    not known; `attention_flops` its share in the FLOPs, of softmax attention alone.
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
    """One recipe over one dimension, its points in ascending order."""

    recipe: Recipe
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Scaling:
    """Lines over `dimension`, with the rest of the size, the workload and the environment fixed; the baseline first."""

    dimension: str
    fixed: Size  # 0 where it varies
    lines: tuple[Line, ...]

    @property
    def record(self) -> RunRecord:
        """One of its records, for what all of them share."""
        return self.lines[0].points[0].record

    def places(self) -> list[int]:
        """Where there are points, in ascending order."""
        return sorted({at(point, self.dimension) for line in self.lines for point in line.points})


class Crossing(NamedTuple):
    """From how many tokens on a line is faster: `at` so many, `below` the smallest or `beyond` the largest measured."""

    side: Literal["below", "at", "beyond"]
    tokens: float


def scalings(records: Iterable[RunRecord], dimension: str) -> list[Scaling]:
    """What can be drawn over one of DIMENSIONS, the one with the most points first; a line has two points at least."""
    groups: dict[Any, dict[str, dict[int, Point]]] = defaultdict(lambda: defaultdict(dict))
    for point in _points(records):
        key = point.size._replace(**{dimension: 0}), _workload(point.record)
        groups[key][json.dumps(point.recipe)].setdefault(at(point, dimension), point)
    found = []
    for (fixed, _), recipes in groups.items():
        ordered = [tuple(by_place[place] for place in sorted(by_place)) for by_place in recipes.values()]
        lines = [Line(points[0].recipe, points) for points in ordered if len(points) > 1]
        if lines:
            found.append(Scaling(dimension, fixed, tuple(sorted(lines, key=lambda line: json.dumps(line.recipe)))))
    return sorted(found, key=lambda one: -sum(len(line.points) for line in one.lines))


def at(point: Point, dimension: str) -> int:
    """Where a point lies."""
    return getattr(point.size, dimension)


def exponent(places: Sequence[float], costs: Sequence[float]) -> float:
    """Least-squares slope of log cost over log place: 1 is linear, 2 quadratic. Needs two places."""
    return statistics.linear_regression([math.log(x) for x in places], [math.log(y) for y in costs]).slope


def crossing(tokens: Sequence[int], speedups: Sequence[float]) -> Crossing:
    """From where on every measured speed-up is above 1: between two of them by log speed-up over log tokens."""
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
    """FLOPs of softmax attention, its four projections included, in one pass: 8 T D^2 + 4 T^2 D a block and image."""
    return size.batch * size.depth * (8 * size.tokens * size.width**2 + 4 * size.tokens**2 * size.width)


def _points(records: Iterable[RunRecord]) -> list[Point]:
    """A point for each newest record of random weights; cut networks last, after the baselines of their depth."""
    newest: dict[tuple[str, str], RunRecord] = {}
    for record in sorted(records, key=lambda record: record.created_at):
        if record.status == "done" and catalog.is_random(record.spec["model"]):
            newest[record.environment["fingerprint"], record.run_id] = record
    baselines: dict[Any, list[float]] = defaultdict(list)
    for record in newest.values():
        baselines[_baseline_key(record)].append(record.speedup["baseline_latency_s"] or record.latency["latency_s"])
    found = [_point(record, baselines[_baseline_key(record)]) for record in newest.values()]
    return sorted(found, key=lambda point: bool(point.record.spec["techniques"]) and not point.recipe)


def _point(record: RunRecord, baseline_s: list[float]) -> Point:
    recipe, size = tuple(record.spec["techniques"]), _size(record.spec)
    middle = statistics.median(baseline_s)
    shares = record.latency.get("time_shares") or {}
    plain = Point(
        record,
        size,
        (),
        Range(middle, min(baseline_s), max(baseline_s)),
        Range(1, 1, 1),
        record.flops["flops"],
        shares.get("attention"),
    )
    if not recipe:
        passes = record.spec["steps"] * (1 if record.spec["guidance"] == 1 else 2)
        return replace(plain, attention_flops=passes * softmax_flops(size) / record.flops["flops"])
    speedup = Range(*(record.speedup[name] for name in ("ratio", "low", "high")))
    timed = Range(*(middle / ratio for ratio in (speedup.value, speedup.high, speedup.low)))
    cut = [technique["name"] for technique in recipe] == ["depth_pruning"]
    if cut:
        size, recipe = size._replace(depth=recipe[0]["keep"]), ()
    return replace(plain, size=size, recipe=recipe, time_s=timed, speedup=speedup)


def _size(spec: dict[str, Any]) -> Size:
    network = catalog.random_network(spec["model"])
    return Size(network.tokens, network.hidden_size, network.depth, spec["batch_size"])


def _workload(record: RunRecord) -> tuple:
    """What has to be equal besides the size: the environment and the rest of the spec."""
    told = {key: value for key, value in record.spec.items() if key not in ("model", "techniques", "batch_size")}
    return record.environment["fingerprint"], json.dumps(told, sort_keys=True)


def _baseline_key(record: RunRecord) -> tuple:
    return *_workload(record), record.spec["model"], record.spec["batch_size"]
