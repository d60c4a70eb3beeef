"""Records as points: what can be an axis, which records may be compared, and which of them form the Pareto front."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from dit_core.spec import RunRecord, RunSpec
from dit_core.store import Stored
from dit_core.ui import words

Spread = tuple[float, float]
_SPECS: dict[str, RunSpec] = {}


@dataclass(frozen=True)
class Axis:
    """One figure of a record as a plot's axis. `spread` is the lower and upper end of its error bar, if it has one."""

    key: str
    title: str
    unit: str
    better: Literal["less", "more"]
    read: Callable[[RunRecord], float | None]
    spread: Callable[[RunRecord], Spread | None] = lambda record: None
    short: str = ""  # for the axis itself, where the title is long

    @property
    def label(self) -> str:
        return f"{self.short or self.title}{f', {self.unit}' if self.unit else ''} ({self.better} is better)"

    @property
    def name(self) -> str:
        """Short, as it stands within a sentence."""
        short = self.short or self.title
        return short if short[:2].isupper() else short[0].lower() + short[1:]

    def text(self, value: float) -> str:
        return f"{words.significant(value)} {self.unit}".strip()


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
    if run_id not in _SPECS:
        _SPECS[run_id] = RunSpec.from_dict(stored.record.spec)
    return _SPECS[run_id]


def latency_spread(record: RunRecord) -> Spread | None:
    """The quartiles of the raw times of one call, in milliseconds."""
    raw: list[float] = sorted(record.latency.get("raw_s") or [])
    return (1e3 * _quantile(raw, 0.25), 1e3 * _quantile(raw, 0.75)) if len(raw) >= 4 else None


def _throughput_spread(record: RunRecord) -> Spread | None:
    spread, batch = latency_spread(record), record.latency["batch_size"]
    return (1e3 * batch / spread[1], 1e3 * batch / spread[0]) if spread and batch and spread[0] > 0 else None


def distance_spread(record: RunRecord) -> Spread | None:
    """The interval of the distance, where there were images enough to tell it."""
    low, high = record.quality.get("low"), record.quality.get("high")
    return None if low is None or high is None else (low, high)


def apart(one: Spread | None, other: Spread | None) -> bool:
    """Whether two intervals are known and do not overlap."""
    return one is not None and other is not None and (one[0] > other[1] or other[0] > one[1])


def _kid_spread(record: RunRecord) -> Spread | None:
    value, error = record.quality.get("kid"), record.quality.get("kid_standard_error")
    return None if value is None or error is None else (value - 1.96 * error, value + 1.96 * error)


def _scaled(section: str, name: str, scale: float = 1.0) -> Callable[[RunRecord], float | None]:
    def read(record: RunRecord) -> float | None:
        value = getattr(record, section).get(name)
        return None if value is None else value * scale

    return read


COSTS = {
    axis.key: axis
    for axis in (
        Axis("latency", "Latency", "ms per batch", "less", _scaled("latency", "latency_s", 1e3), latency_spread),
        Axis(
            "throughput",
            "Throughput",
            "images/s",
            "more",
            _scaled("latency", "throughput_images_per_s"),
            _throughput_spread,
        ),
        Axis("flops", "Compute", "GFLOP per batch", "less", _scaled("flops", "flops", 1e-9)),
        Axis("memory", "Peak memory", "MB", "less", _scaled("memory", "peak_memory_bytes", 1e-6)),
        Axis("weights", "Weights", "MB", "less", _scaled("memory", "weight_bytes", 1e-6)),
        Axis("energy", "Energy", "J", "less", _scaled("energy", "energy_j")),
    )
}
TIME_AXES, MEMORY_AXES = ("latency", "throughput", "flops", "energy"), ("memory", "weights")


def quality_axes(runs: Sequence[Stored]) -> dict[str, Axis]:
    """Quality axes that at least one of these runs has. Every metric name is an axis of its own."""
    axes = []
    for metric in dict.fromkeys(stored.record.quality.get("metric") for stored in runs):
        if metric:
            axes.append(
                Axis(
                    f"distance {metric}",
                    metric,
                    "",
                    "less",
                    _judged("distance", metric),
                    distance_spread,
                    "Distance to real images",
                )
            )
            kid = "KID " + metric.partition(" ")[2]
            axes.append(Axis(f"kid {metric}", kid, "", "less", _judged("kid", metric), _kid_spread, "KID"))
    axes.append(Axis("psnr", "PSNR to the baseline", "dB", "more", _scaled("fidelity", "psnr_db")))
    axes.append(Axis("ssim", "SSIM to the baseline", "", "more", _scaled("fidelity", "ssim")))
    return {axis.title: axis for axis in axes if any(axis.read(stored.record) is not None for stored in runs)}


def cost_axes(keys: Sequence[str], runs: Sequence[Stored]) -> dict[str, Axis]:
    """Those of the cost axes that at least one of these runs has a figure for, by title."""
    return {COSTS[k].title: COSTS[k] for k in keys if any(COSTS[k].read(stored.record) is not None for stored in runs)}


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
        found.append(Comparison(words.environment(first), workload, newest, earlier))
    return sorted(_distinct(found), key=lambda group: -len(group.runs))


def front(points: Sequence[tuple[float, float]], x: Axis, y: Axis) -> list[int]:
    """Indices of the points that no other beats, the best on x first. Equal points stay together."""
    signs = (1 if x.better == "less" else -1), (1 if y.better == "less" else -1)
    costs = [(signs[0] * px, signs[1] * py) for px, py in points]
    kept, best = [], float("inf")
    for i in sorted(range(len(costs)), key=lambda i: costs[i]):
        if costs[i][1] < best or (kept and costs[i] == costs[kept[-1]]):
            kept.append(i)
            best = costs[i][1]
    return kept


def highlights(runs: Sequence[Stored], quality: Axis, most: int) -> list[Stored]:
    """At most `most` recipes worth a first look, the best quality first: from the fronts of time and of weights, the
    middle one of each family before the others."""
    leading: dict[str, list[Stored]] = {}
    for cost in (COSTS["latency"], COSTS["weights"]):
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


def burden(record: RunRecord) -> float:
    """Time, bytes and distance as one figure to choose by where no budget is given; unknown ones do not count."""
    figures = (record.latency["latency_s"], record.memory["weight_bytes"], record.quality["distance"])
    return math.prod(figure for figure in figures if figure)


def point_id(stored: Stored) -> str:
    """What a link and a click name. A bundled and a local record of one run have the same file name."""
    return stored.path.stem if stored.origin == "bundled" else f"{stored.path.stem}-local"


def _judged(name: str, metric: str) -> Callable[[RunRecord], float | None]:
    return lambda record: record.quality.get(name) if record.quality.get("metric") == metric else None


def _distinct(found: list[Comparison]) -> list[Comparison]:
    """Two machines can look alike in words; number them so that a choice by title is a choice."""
    titles: dict[str, int] = {}
    result = []
    for group in found:
        titles[group.title] = nth = titles.get(group.title, 0) + 1
        environment = f"{group.environment} ({nth})" if nth > 1 else group.environment
        result.append(Comparison(environment, group.workload, group.runs, group.earlier))
    return result


def _quantile(ordered: list[float], q: float) -> float:
    position = q * (len(ordered) - 1)
    low = int(position)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (position - low)
