"""What this project set out to reach, judged from the bundled records alone: met, or missed by how much. No torch.

The targets are data (`targets.toml`), each with what was tried where it is missed. A figure is the one measured: an
interval that reaches a bound does not meet it.
"""

import math
import tomllib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dit_core import techniques
from dit_core.models import catalog
from dit_core.spec import RunRecord, RunSpec

FILE = Path(__file__).with_name("targets.toml")
COLUMNS = ("target", "asked", "measured", "", "what was tried")


@dataclass(frozen=True)
class Target:
    """A bound on one figure of one run; `against` is a run to compare it with where that is not its baseline."""

    says: str
    spec: RunSpec
    against: RunSpec
    figure: str
    least: float | None
    most: float | None
    tried: str = ""

    @property
    def asked(self) -> str:
        tell = FIGURES[self.figure][1]
        return f"at least {tell(self.least)}" if self.least is not None else f"at most {tell(self.most or 0.0)}"

    def met(self, value: float) -> bool:
        return value >= self.least if self.least is not None else value <= (self.most or 0.0)


@dataclass(frozen=True)
class Outcome:
    """A target with the figure that was measured; None where a run of it is not in the store."""

    target: Target
    value: float | None

    @property
    def verdict(self) -> str:
        if self.value is None:
            return "not measured"
        return "met" if self.target.met(self.value) else "**missed**"

    @property
    def told(self) -> str:
        return "" if self.value is None else FIGURES[self.target.figure][1](self.value)


def read(path: Path = FILE) -> list[Target]:
    """The targets of a file; raises BadRequest or ValueError where one is not whole."""
    content = tomllib.loads(path.read_text())
    return [_target(entry, content["workload"]) for entry in content["targets"]]


def judge(targets: Sequence[Target], records: Iterable[RunRecord]) -> list[Outcome]:
    """Each target with its figure, from the newest record of its run and, judged on as many images, of the other."""
    newest: dict[str, dict[int, RunRecord]] = {}
    for record in sorted(records, key=lambda record: record.created_at):
        newest.setdefault(_key(record.spec), {})[record.spec["samples"]] = record
    outcomes = []
    for target in targets:
        runs, others = (newest.get(_key(spec.to_dict()), {}) for spec in (target.spec, target.against))
        figure = FIGURES[target.figure][0]
        values = [figure(runs[samples], others.get(samples)) for samples in sorted(runs, reverse=True)]
        outcomes.append(Outcome(target, next((value for value in values if value is not None), None)))
    return outcomes


def table(outcomes: Sequence[Outcome]) -> str:
    """A Markdown table, those that are missed last, with what was tried."""
    rows = sorted(outcomes, key=lambda one: one.verdict != "met")
    lines = ["| " + " | ".join(COLUMNS) + " |", "|---|---:|---:|---|---|"]
    for one in rows:
        tried = "" if one.verdict == "met" else one.target.tried
        lines.append(f"| {one.target.says} | {one.target.asked} | {one.told} | {one.verdict} | {tried} |")
    met = sum(one.verdict == "met" for one in rows)
    return "\n".join([f"{met} of {len(rows)} targets are met.", "", *lines])


def _target(entry: dict[str, Any], workload: dict[str, Any]) -> Target:
    known = {"says", "run", "against", "beside", "figure", "least", "most", "tried"}
    if entry["figure"] not in FIGURES or ("least" in entry) == ("most" in entry):
        raise ValueError(f"target {entry['says']!r} needs a known figure, and either least or most")
    told = {**workload, **{name: value for name, value in entry.items() if name not in known}}

    def spec(recipe: Sequence[str], **others: Any) -> RunSpec:
        entries = techniques.canonical(map(techniques.parse_argument, recipe))
        return RunSpec.from_dict({**told, **others, "techniques": entries})

    return Target(
        entry["says"],
        spec(entry["run"]),
        spec(entry.get("against", []), **entry.get("beside", {})),
        entry["figure"],
        entry.get("least"),
        entry.get("most"),
        entry.get("tried", ""),
    )


def _key(spec: dict[str, Any]) -> str:
    """A run whatever the number of its images: `samples` differ between a sweep and its front."""
    return RunSpec.from_dict({**spec, "samples": 0}).run_id


def _bytes(run: RunRecord, other: RunRecord | None) -> float | None:
    return _share(run.memory["weight_bytes"], run.memory["baseline_weight_bytes"])


def _flops_saved(run: RunRecord, other: RunRecord | None) -> float | None:
    share = _share(run.flops["flops"], run.flops["baseline_flops"])
    return None if share is None or run.flops["uncounted"] else 1 - share


def _share(part: float | None, whole: float | None) -> float | None:
    return None if part is None or not whole else part / whole


def _speedup(run: RunRecord, other: RunRecord | None) -> float | None:
    return run.speedup["ratio"]


def _promise_kept(run: RunRecord, other: RunRecord | None) -> float | None:
    """Share of the time saved in the share of FLOPs saved."""
    ratio, saved = run.speedup["ratio"], _flops_saved(run, other)
    return (1 - 1 / ratio) / saved if ratio and saved else None


def _speed_kept(run: RunRecord, other: RunRecord | None) -> float | None:
    """The speed-up over that of the FLOPs."""
    ratio, saved = run.speedup["ratio"], _flops_saved(run, other)
    return None if ratio is None or saved is None else ratio * (1 - saved)


def _growth(run: RunRecord, other: RunRecord | None) -> float | None:
    """The exponent of time over tokens between two sizes of one network: 1 is linear, 2 quadratic."""
    if other is None or not run.latency["latency_s"] or not other.latency["latency_s"]:
        return None
    tokens = [catalog.random_network(side.spec["model"]).tokens for side in (run, other)]
    return math.log(run.latency["latency_s"] / other.latency["latency_s"]) / math.log(tokens[0] / tokens[1])


def _executed(run: RunRecord, other: RunRecord | None) -> float | None:
    """What a mixture executes for a token over what its size activates.

    A record from before both were kept tells it by its counts: only the feed-forward networks differ from the baseline.
    """
    if kept := run.flops.get("experts"):
        return kept["executed_macs_per_token"] / kept["activated_macs_per_token"]
    (moe,), spec, plain = run.spec["techniques"], run.spec, catalog.outline(run.spec["model"])
    if plain is None or run.flops["macs"] is None or run.flops["uncounted"]:
        return None
    width, blocks = plain.size.hidden_size, plain.chosen(moe["layers"])
    passes = spec["steps"] * spec["batch_size"] * (1 if spec["guidance"] == 1 else 2)
    dense = sum(2 * width * block.neurons for block in blocks.values())
    executed = dense + (run.flops["macs"] - run.flops["baseline_macs"]) / (passes * plain.size.tokens)
    neurons = [moe.get("expert_size") or block.neurons // moe["experts"] for block in blocks.values()]
    always, routed = moe["shared"], moe["experts"] - moe["shared"]
    return executed / sum(width * routed + 2 * width * size * (moe["top_k"] + always) for size in neurons)


def _int8_kept(run: RunRecord, other: RunRecord | None) -> float | None:
    """The speed-up over how much faster the device multiplies large matrices in int8 than in float32 (its roofline)."""
    roof = run.flops.get("roofline") or {}
    if not run.speedup["ratio"] or not roof.get("int8_ops_per_s"):
        return None
    return run.speedup["ratio"] * roof["float32_flops_per_s"] / roof["int8_ops_per_s"]


def _distance(run: RunRecord, other: RunRecord | None) -> float | None:
    """By how much the distance is above the other's, as a share of it; None where they were judged differently."""
    if other is None or run.quality["metric"] != other.quality["metric"]:
        return None
    if not run.quality["distance"] or not other.quality["distance"]:
        return None
    return run.quality["distance"] / other.quality["distance"] - 1


def _beyond_interval(run: RunRecord, other: RunRecord | None) -> float | None:
    """By how much the distance is above the upper end of the other's interval, as a share of its distance."""
    above = _distance(run, other)
    if above is None or other is None or other.quality["high"] is None:
        return None
    return max(0.0, above - (other.quality["high"] / other.quality["distance"] - 1))


def _percent(value: float) -> str:
    return f"{100 * value:+.1f} %" if value < 0 else f"{100 * value:.1f} %"


def _times(value: float) -> str:
    return f"{value:.2f} times"


Figure = Callable[[RunRecord, RunRecord | None], float | None]
FIGURES: dict[str, tuple[Figure, Callable[[float], str]]] = {
    "bytes": (_bytes, _percent),
    "flops_saved": (_flops_saved, _percent),
    "speedup": (_speedup, _times),
    "promise_kept": (_promise_kept, _percent),
    "speed_kept": (_speed_kept, _percent),
    "int8_kept": (_int8_kept, _percent),
    "distance": (_distance, _percent),
    "beyond_interval": (_beyond_interval, _percent),
    "growth": (_growth, "{:.2f}".format),
    "executed": (_executed, _times),
}
