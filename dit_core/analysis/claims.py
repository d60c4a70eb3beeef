"""Judge the claims of papers from records. Imports no torch.

A setting is a recipe with its workload, whatever its seed and its number of judged images; where a figure depends on
the machine, the machine belongs to the setting. A setting has one figure, from its record with the most judged images,
the newest of these. Of n settings with a figure, every interval is widened so that all n hold together with 95 %
(Sidak): the best of many is then corrected for its selection. A setting counts as in the range if its whole widened
interval is. If the interval holds an end of the range, the setting is undecided and does not count.

- reproduced: all n settings are in the range;
- partly: k of n are, and they are listed;
- not reproduced: none is, and at least one is outside;
- not testable here: there is no record, no figure with an interval, no run on the device of the claim, or every setting
  is undecided.

Only finished runs of trained weights count that their model still has. Records of different machines are never compared
with each other: a record's peer is from its own environment.
"""

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

from dit_core.analysis.claim_figures import FIGURES, Figure
from dit_core.analysis.claim_file import NO_PEER, Claim, State, read, span
from dit_core.experiment.known import is_current
from dit_core.models import sources
from dit_core.recipes.registry import registry
from dit_core.records import metrics
from dit_core.records.record import RunRecord
from dit_core.records.spec import RunSpec
from dit_core.records.store import Stored
from dit_core.system import devices

VERDICTS = ("reproduced", "partly", "not reproduced", "not testable here")
LISTED = 6  # settings that the text of a verdict lists; the JSON and the page list all


@dataclass(frozen=True)
class Evidence:
    """The figure of one setting, also as `text`, and the record that it is from; `state` is where its interval lies.

    The interval is widened for the number of settings.
    """

    run_id: str
    recipe: str
    machine: str
    fingerprint: str
    figure: Figure
    text: str
    state: State
    stored: Stored


@dataclass(frozen=True)
class Verdict:
    """`verdict` is one of VERDICTS, `reason` explains it in one line, and `evidence` has every setting with the figure.

    The first evidence is the best of them: it supports the claim most.
    """

    claim: Claim
    verdict: str
    reason: str
    evidence: tuple[Evidence, ...] = ()

    @property
    def in_range(self) -> tuple[Evidence, ...]:
        """The settings in the range."""
        return tuple(item for item in self.evidence if item.state == "in range")

    @property
    def best(self) -> str:
        """What the first evidence is: `best of 24 settings, interval corrected for 24 (Sidak)`."""
        count = len(self.evidence)
        return "the only setting" if count == 1 else f"best of {count} settings, interval corrected for {count} (Sidak)"


@dataclass(frozen=True)
class _Run:
    """A record with what many claims ask about it, computed once."""

    stored: Stored

    @property
    def record(self) -> RunRecord:
        return self.stored.record

    @cached_property
    def spec(self) -> RunSpec:
        return RunSpec.from_dict(self.record.spec)

    @cached_property
    def setting(self) -> str:
        return replace(self.spec, samples=0, seed=0, replicates=1).run_id

    @cached_property
    def baseline(self) -> tuple[str, str]:
        """The environment and the run id of the baseline: runs with equal ones may be compared."""
        return self.record.environment["fingerprint"], self.spec.baseline.run_id

    @property
    def order(self) -> tuple[Any, ...]:
        """Sort key: of the records of a setting the last one counts, which has the most judged images, then newest."""
        return self.spec.samples * self.spec.replicates, *self.stored.recency


def verdicts(records: Sequence[Stored]) -> list[Verdict]:
    """Return the verdict on each shipped claim. The page and the command line both show these."""
    return judge(read(), records)


def judge(claims: Sequence[Claim], records: Sequence[Stored]) -> list[Verdict]:
    """Return a verdict for each claim, in order, whatever the order of the records."""
    newest: dict[tuple[str, str], _Run] = {}
    for run in sorted(map(_Run, records), key=lambda run: run.order):
        counts = run.record.status == "done" and not sources.is_cost_only(run.record.spec["model"])
        if counts and is_current(run.record):
            newest[run.record.environment["fingerprint"], run.record.run_id] = run
    return [_judge(claim, newest) for claim in claims]


def tally(verdicts: Sequence[Verdict]) -> dict[str, int]:
    """Return how many claims have each verdict, in the order of VERDICTS."""
    return {name: sum(item.verdict == name for item in verdicts) for name in VERDICTS}


def report(verdicts: Sequence[Verdict]) -> str:
    """Return the verdicts as text: each with its reason, the settings in the range, or what would test it."""
    lines = []
    for item in verdicts:
        lines.append(f"{item.verdict.ljust(17)} {item.claim.statement} {item.reason} ({item.claim.source})")
        if item.verdict == "partly":
            names = [f"{entry.recipe} on {entry.machine}: {entry.text}" for entry in item.in_range]
            more = [f"and {len(names) - LISTED} more, see --json"] if len(names) > LISTED else []
            lines += [f"{'':17}   in the range: {name}" for name in (*names[:LISTED], *more)]
        if not item.evidence:
            lines += [f"{'':17}   would test it: {command}" for command in item.claim.commands]
    counts = ", ".join(f"{count} {name}" for name, count in tally(verdicts).items() if count)
    return "\n".join([*lines, f"{len(verdicts)} claims: {counts}."])


def as_json(verdicts: Sequence[Verdict]) -> str:
    """Return the verdicts as JSON; a missing end of a range is null."""

    def plain(verdict: Verdict) -> dict[str, Any]:
        claim = {
            name: None if value in (math.inf, -math.inf) else value for name, value in asdict(verdict.claim).items()
        }
        evidence = [
            {**{name: getattr(item, name) for name in ENTRIES}, "figure": asdict(item.figure)}
            for item in verdict.evidence
        ]
        in_range = [item.run_id for item in verdict.in_range]
        return {
            "claim": claim,
            "verdict": verdict.verdict,
            "reason": verdict.reason,
            "evidence": evidence,
            "in_range": in_range,
        }

    return json.dumps([plain(verdict) for verdict in verdicts], indent=1, allow_nan=False)


ENTRIES = ("run_id", "recipe", "machine", "fingerprint", "text", "state")  # of an evidence in JSON


def _judge(claim: Claim, runs: dict[tuple[str, str], _Run]) -> Verdict:
    def untestable(reason: str) -> Verdict:
        return Verdict(claim, "not testable here", reason)

    matching = [run for run in runs.values() if _matches(run, claim)]
    if not matching:
        which = "recovered record" if claim.recovered else "record"
        knobs = f" with {', '.join(f'{name} {value}' for name, value in claim.knobs.items())}" if claim.knobs else ""
        return untestable(f"There is no {which} of {' or '.join(claim.techniques)}{knobs}.")
    testable = [run for run in matching if claim.device in (None, devices.kind(run.record.environment["device"]))]
    if not testable:
        return untestable(f"None of {_counted(len(matching), 'record')} ran on {claim.device}.")
    settings = _settings(claim, testable, runs)
    if not settings:
        missing = NO_PEER if claim.peer == "next larger" else FIGURES[claim.figure].missing
        return untestable(f"None of {_counted(len(testable), 'record')} has the figure: {missing}.")
    evidence = [_evidence(run, figure.simultaneous(len(settings)), claim) for run, figure in settings]
    evidence.sort(key=lambda item: (claim.rank(item.figure), item.recipe, item.run_id))
    states: Counter[State] = Counter(item.state for item in evidence)
    kept, outside = states["in range"], states["outside"]
    name = (
        "reproduced" if kept == len(evidence) else "partly" if kept else "not reproduced" if outside else VERDICTS[-1]
    )
    return Verdict(claim, name, _reason(claim, evidence, states), tuple(evidence))


def _settings(claim: Claim, testable: Sequence[_Run], runs: dict[tuple[str, str], _Run]) -> list[tuple[_Run, Figure]]:
    """Return the figure of each setting that has one, with its record."""
    claim_figure = FIGURES[claim.figure]
    settings: dict[tuple[str, str], tuple[_Run, Figure]] = {}
    for run in sorted(testable, key=lambda run: run.order):
        figure = claim_figure.compute(run.record, _peer(claim, run, testable, runs))
        if figure is not None:
            machine = run.record.environment["fingerprint"] if claim_figure.of_machine else ""
            settings[run.setting, machine] = run, figure
    return list(settings.values())


def _reason(claim: Claim, evidence: Sequence[Evidence], states: Counter[State]) -> str:
    """Return how many settings are in the range and undecided, on which machines, and what was measured."""
    count, write = len(evidence), FIGURES[claim.figure].format
    sentences = [f"{states['in range']} of {_counted(count, 'setting')} in the range"]
    if states["undecided"]:
        sentences[0] += f", {states['undecided']} undecided because the interval holds an end of the range"
    values = [item.figure.value for item in evidence]
    measured = write(values[0]) if count == 1 else span(write, min(values), max(values))
    machines = Counter(item.machine for item in evidence)
    if len(machines) > 1:
        inside = Counter(item.machine for item in evidence if item.state == "in range")
        sentences.append(", ".join(f"{inside[name]} of {total} on {name}" for name, total in machines.items()))
    return "; ".join([*sentences, f"measured: {measured}"]) + "."


def _evidence(run: _Run, figure: Figure, claim: Claim) -> Evidence:
    write, environment = FIGURES[claim.figure].format, run.record.environment
    ends = f" ({span(write, figure.low, figure.high)})" if write(figure.low) != write(figure.high) else ""
    return Evidence(
        run.record.run_id,
        run.spec.label(),
        str(environment.get("gpu") or environment["cpu"]),
        environment["fingerprint"],
        figure,
        f"{write(figure.value)}{ends}",
        claim.state(figure),
        run.stored,
    )


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"


def _matches(run: _Run, claim: Claim) -> bool:
    """Return whether all techniques of the record are among those of the claim, with the knobs of the claim."""
    recipe = run.spec.techniques
    names = {technique["name"] for technique in recipe}
    trained = all(technique.get("recover") not in (None, "none") for technique in recipe)
    knobs = all(_knobs(entry).get(name) == value for entry in recipe for name, value in claim.knobs.items())
    return bool(names) and names <= set(claim.techniques) and (trained or not claim.recovered) and knobs


def _knobs(entry: dict[str, Any]) -> dict[str, Any]:
    """Return the knobs of a technique that have an effect; a knob that the record omits has its default."""
    technique = registry().get(entry["name"])
    if technique is None:
        return entry
    values = {knob.name: entry.get(knob.name, knob.default) for knob in technique.knobs}
    return {knob.name: values[knob.name] for knob in technique.knobs if not knob.inactive_reason(values)}


def _peer(claim: Claim, run: _Run, testable: Sequence[_Run], runs: dict[tuple[str, str], _Run]) -> RunRecord | None:
    """Return the record to compare with, from the same machine and workload; None if it was not measured."""
    if claim.against:
        others = (other for other in runs.values() if other.baseline == run.baseline and _differs(run, other, claim))
        return next((other.record for other in others), None)
    if claim.peer == "baseline":
        peer = runs.get(run.baseline)
        return peer.record if peer else None
    larger = [other for other in testable if other.baseline == run.baseline and _bytes(other) > _bytes(run)]
    return min(larger, key=_bytes).record if larger else None


def _differs(run: _Run, other: _Run, claim: Claim) -> bool:
    """Return whether the other run is this one with the knobs of `against` changed."""
    if len(run.spec.techniques) != 1 or len(other.spec.techniques) != 1:
        return False
    own, changed = run.spec.techniques[0], other.spec.techniques[0]
    if own["name"] != changed["name"]:
        return False
    values, rest = _knobs(own), _knobs(changed)
    return all(rest.get(name) == value for name, value in claim.against.items()) and all(
        values.get(name) == value for name, value in rest.items() if name not in claim.against
    )


def _bytes(run: _Run) -> float:
    return metrics.WEIGHT_BYTES.read(run.record) or 0
