"""Judge the project's targets from the bundled records: met, or missed by how much. Imports no torch.

Targets are data (`targets.toml`). A missed target says what was tried. Only the measured value counts: an interval that
reaches the bound is not enough.
"""

import math
import tomllib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dit_core.models import sources
from dit_core.recipes.recipe import canonical, parse_argument
from dit_core.records import metrics
from dit_core.records.record import RunRecord
from dit_core.records.spec import RunSpec

FILE = Path(__file__).with_name("targets.toml")
COLUMNS = ("target", "required", "measured", "", "what was tried")
FIELDS = {"statement", "run", "against", "against_workload", "figure", "least", "most", "tried"}


@dataclass(frozen=True)
class Target:
    """A bound on one figure of the run `spec`, which is compared with the run `against` (by default its baseline)."""

    statement: str
    spec: RunSpec
    against: RunSpec
    figure: str
    least: float | None
    most: float | None
    tried: str = ""

    @property
    def required(self) -> str:
        """The bound as text."""
        write = FIGURES[self.figure].format
        return f"at least {write(self.least)}" if self.least is not None else f"at most {write(self.most or 0.0)}"

    def is_met_by(self, value: float) -> bool:
        return value >= self.least if self.least is not None else value <= (self.most or 0.0)


@dataclass(frozen=True)
class Outcome:
    """A target with the measured value; None if the store has no run for it."""

    target: Target
    value: float | None

    @property
    def verdict(self) -> str:
        if self.value is None:
            return "not measured"
        return "met" if self.target.is_met_by(self.value) else "**missed**"

    @property
    def text(self) -> str:
        """The measured value as text."""
        return "" if self.value is None else FIGURES[self.target.figure].format(self.value)


def read(path: Path = FILE) -> list[Target]:
    """Return the targets of a file; raises BadRequest or ValueError if an entry is incomplete."""
    content = tomllib.loads(path.read_text())
    return [_target(entry, content["workload"]) for entry in content["targets"]]


def judge(targets: Sequence[Target], records: Iterable[RunRecord]) -> list[Outcome]:
    """Return each target with its value, from the newest record of its run with the most evaluated images.

    `records` are the newest first. Both runs of a comparison come from one environment and have the same number of
    evaluated images.
    """
    newest: dict[tuple[Any, ...], RunRecord] = {}
    oldest_first = list(records)[::-1]  # of two records of one second, the first is the newer one
    oldest_first.sort(key=lambda record: record.created_at)
    for record in oldest_first:
        newest[_key(record.spec), record.spec["samples"], record.environment["fingerprint"]] = record
    outcomes = []
    for target in targets:
        run_key, other_key = (_key(spec.to_dict()) for spec in (target.spec, target.against))
        runs = [(record, newest.get((other_key, *rest))) for (key, *rest), record in newest.items() if key == run_key]
        runs.sort(key=lambda pair: (pair[0].spec["samples"], pair[0].created_at), reverse=True)
        values = (FIGURES[target.figure].compute(*pair) for pair in runs)
        outcomes.append(Outcome(target, next((value for value in values if value is not None), None)))
    return outcomes


def table(outcomes: Sequence[Outcome]) -> str:
    """Return a Markdown table: targets that are met, then the others with what was tried."""
    rows = sorted(outcomes, key=lambda outcome: outcome.verdict != "met")
    lines = ["| " + " | ".join(COLUMNS) + " |", "|---|---:|---:|---|---|"]
    for outcome in rows:
        target, verdict = outcome.target, outcome.verdict
        tried = "" if verdict == "met" else target.tried
        lines.append(f"| {target.statement} | {target.required} | {outcome.text} | {verdict} | {tried} |")
    met = sum(outcome.verdict == "met" for outcome in rows)
    note = f"{met} of {len(rows)} targets are met. Quality is the distance: {metrics.PRIMARY_QUALITY.help}"
    return "\n".join([note, "", *lines])


def _target(entry: dict[str, Any], workload: dict[str, Any]) -> Target:
    if entry["figure"] not in FIGURES or ("least" in entry) == ("most" in entry):
        raise ValueError(f"target {entry['statement']!r} needs a known figure, and either least or most")
    own_workload = {**workload, **{name: value for name, value in entry.items() if name not in FIELDS}}

    def spec(recipe: Sequence[str], **other_workload: Any) -> RunSpec:
        entries = canonical(map(parse_argument, recipe))
        return RunSpec.from_dict({**own_workload, **other_workload, "techniques": entries})

    return Target(
        entry["statement"],
        spec(entry["run"]),
        spec(entry.get("against", []), **entry.get("against_workload", {})),
        entry["figure"],
        entry.get("least"),
        entry.get("most"),
        entry.get("tried", ""),
    )


def _key(spec: dict[str, Any]) -> str:
    """Return the id of a run without its number of images, which differs between a sweep and its front."""
    return RunSpec.from_dict({**spec, "samples": 0}).run_id


def _bytes(run: RunRecord, other: RunRecord | None) -> float | None:
    return _share(metrics.WEIGHT_BYTES.read(run), metrics.WEIGHT_BYTES.read_baseline(run))


def _flops_saved(run: RunRecord, other: RunRecord | None) -> float | None:
    share = _share(metrics.FLOPS.read(run), metrics.FLOPS.read_baseline(run))
    return None if share is None or run.flops["uncounted"] else 1 - share


def _share(part: float | None, whole: float | None) -> float | None:
    return None if part is None or not whole else part / whole


def _speedup(run: RunRecord, other: RunRecord | None) -> float | None:
    return metrics.SPEEDUP.read(run)


def _speed_over(run: RunRecord, other: RunRecord | None) -> float | None:
    """Return how many times as fast as the other run a run is, from the speed-ups of both over one baseline.

    Each was timed interleaved with that baseline: on a shared machine, two latencies of different hours say less.
    """
    if other is None or RunSpec.from_dict(run.spec).baseline != RunSpec.from_dict(other.spec).baseline:
        return None
    return _share(metrics.SPEEDUP.read(run), metrics.SPEEDUP.read(other) if other.spec["techniques"] else 1.0)


def _accuracy_lost(run: RunRecord, other: RunRecord | None) -> float | None:
    """Return by how much the other's share of images of the asked class is larger than the run's."""
    metric = metrics.CLASS_ACCURACY
    if other is None or not metric.comparable(run, other):
        return None
    value, reference = metric.read(run), metric.read(other)
    return None if value is None or reference is None else reference - value


def _time_saved(run: RunRecord, other: RunRecord | None) -> float | None:
    """Return the share of the time that was saved, divided by the share of operations that was saved."""
    relative_time, saved = metrics.RELATIVE_TIME.read(run), _flops_saved(run, other)
    return (1 - relative_time) / saved if relative_time and saved else None


def _speed_per_flop(run: RunRecord, other: RunRecord | None) -> float | None:
    """Return the speed-up divided by the speed-up that the operation count predicts."""
    speedup, saved = metrics.SPEEDUP.read(run), _flops_saved(run, other)
    return None if speedup is None or saved is None else speedup * (1 - saved)


def _growth(run: RunRecord, other: RunRecord | None) -> float | None:
    """Return the exponent of time over tokens between two sizes of one network: 1 is linear, 2 quadratic."""
    times = [metrics.LATENCY.read(side) if side else None for side in (run, other)]
    if other is None or not times[0] or not times[1]:
        return None
    sizes = [sources.find(side.spec["model"]).size for side in (run, other)]
    tokens = [size.tokens for size in sizes if size is not None]
    return math.log(times[0] / times[1]) / math.log(tokens[0] / tokens[1])


def _executed(run: RunRecord, other: RunRecord | None) -> float | None:
    """Return the operations that a mixture executes per token, divided by those of the activated experts.

    An older record does not have both. Then they are computed from its counts: only the feed-forward networks differ
    from the baseline's.
    """
    if experts := run.flops.get("experts"):
        return experts["executed_macs_per_token"] / experts["activated_macs_per_token"]
    (moe,), spec, structure = run.spec["techniques"], run.spec, sources.find(run.spec["model"]).structure
    macs, baseline_macs = metrics.MACS.read(run), metrics.MACS.read_baseline(run)
    if structure is None or macs is None or baseline_macs is None or run.flops["uncounted"]:
        return None
    width, blocks = structure.size.hidden_size, structure.chosen(moe["layers"])
    passes = spec["steps"] * spec["batch_size"] * (1 if spec["guidance"] == 1 else 2)
    dense = sum(2 * width * block.neurons for block in blocks.values())
    executed = dense + (macs - baseline_macs) / (passes * structure.size.tokens)
    neurons = [moe.get("expert_size") or block.neurons // moe["experts"] for block in blocks.values()]
    always, routed = moe["shared"], moe["experts"] - moe["shared"]
    return executed / sum(width * routed + 2 * width * size * (moe["top_k"] + always) for size in neurons)


def _int8_speed(run: RunRecord, other: RunRecord | None) -> float | None:
    """Return the speed-up divided by the device's: its int8 over its float32 rate for large matrices."""
    roofline, speedup = run.flops.get("roofline") or {}, metrics.SPEEDUP.read(run)
    if not speedup or not roofline.get("int8_ops_per_s"):
        return None
    return speedup * roofline["float32_flops_per_s"] / roofline["int8_ops_per_s"]


def _quality_loss(run: RunRecord, other: RunRecord | None) -> float | None:
    """Return by which share of the other's distance the run's is larger; None if the methods differ."""
    metric = metrics.PRIMARY_QUALITY
    if other is None or not metric.comparable(run, other):
        return None
    value, reference = metric.read(run), metric.read(other)
    return value / reference - 1 if value and reference else None


def _loss_beyond_interval(run: RunRecord, other: RunRecord | None) -> float | None:
    """Return by which share of the other's distance the run's is above the other's interval."""
    metric, loss = metrics.PRIMARY_QUALITY, _quality_loss(run, other)
    ends, reference = (metric.interval(other), metric.read(other)) if other else (None, None)
    return None if loss is None or ends is None or not reference else max(0.0, loss - (ends[1] / reference - 1))


def _percent(value: float) -> str:
    return f"{100 * value:+.1f} %" if value < 0 else f"{100 * value:.1f} %"


def _times(value: float) -> str:
    return f"{value:.2f} times"


@dataclass(frozen=True)
class TargetFigure:
    """How to compute a figure from a run and the run that it is compared with (None if missing), and to write it."""

    compute: Callable[[RunRecord, RunRecord | None], float | None]
    format: Callable[[float], str]


FIGURES = {
    "bytes": TargetFigure(_bytes, _percent),
    "flops_saved": TargetFigure(_flops_saved, _percent),
    "speedup": TargetFigure(_speedup, _times),
    "speed_over": TargetFigure(_speed_over, _times),
    "accuracy_lost": TargetFigure(_accuracy_lost, _percent),
    "time_saved_of_predicted": TargetFigure(_time_saved, _percent),
    "speedup_of_predicted": TargetFigure(_speed_per_flop, _percent),
    "speedup_of_int8_peak": TargetFigure(_int8_speed, _percent),
    "quality_loss": TargetFigure(_quality_loss, _percent),
    "quality_loss_beyond_interval": TargetFigure(_loss_beyond_interval, _percent),
    "growth": TargetFigure(_growth, "{:.2f}".format),
    "executed": TargetFigure(_executed, _times),
}
