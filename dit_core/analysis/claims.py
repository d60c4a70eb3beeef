"""Judge the claims of a paper and its summaries from records. Imports no torch.

A claim (`claims.toml`) names a figure, techniques and a range. The verdict is computed from the records:

- reproduced: one record, or every record (the claim's rule), is in the range, within its interval;
- not reproduced: there are records, but too few of them are in the range;
- not testable here: there are records, but none has the figure, or none ran on the device of the claim;
- no records yet.

Only finished runs of trained weights count, the newest of each run and environment. The evidence of a verdict is every
record with the figure.
"""

import json
import math
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dit_core.analysis.claim_figures import FIGURES, Figure
from dit_core.models import sources
from dit_core.records import metrics
from dit_core.records.record import RunRecord
from dit_core.records.spec import RunSpec
from dit_core.system import devices

FILE = Path(__file__).with_name("claims.toml")
VERDICTS = ("reproduced", "not reproduced", "not testable here", "no records yet")
ABOUT = 0.05  # "about 73 %" allows this difference on both sides
RULES = ("any", "all")
KINDS = ("paper", "summary")
PEERS = ("baseline", "next larger")
NO_PEER = "there is no larger run of the same techniques, workload and machine to compare it with"


@dataclass(frozen=True)
class Source:
    """Who reports a figure: the paper or a summary of it, with its name in `by` and a link."""

    kind: str
    by: str
    link: str

    def __str__(self) -> str:
        return self.by if self.kind == "paper" else f"summary: {self.by}"


@dataclass(frozen=True)
class Claim:
    """One reported figure. `least` and `most` bound its range; with `open` the range excludes its ends.

    `peer` is what a record is compared with: its baseline, or the claim's next larger record. With `recovered`, only
    runs count that were trained after the technique changed them.
    """

    id: str
    statement: str
    techniques: tuple[str, ...]
    figure: str
    reported: str
    rule: str
    least: float
    most: float
    open: bool
    device: str | None
    source: Source
    peer: str = PEERS[0]
    recovered: bool = False

    def contains(self, figure: Figure) -> bool:
        """Return whether the figure's interval overlaps the range; for an open range, whether it is inside."""
        if self.open:
            return figure.low > self.least and figure.high < self.most
        return figure.high >= self.least and figure.low <= self.most

    def distance(self, figure: Figure) -> float:
        """Return how far a figure is outside the range; 0 inside."""
        lowest, highest = (figure.low, figure.high) if self.open else (figure.high, figure.low)
        return 0.0 if self.contains(figure) else max(self.least - lowest, highest - self.most)

    @property
    def bounded(self) -> bool:
        """Whether the range has two ends."""
        return math.isfinite(self.least) and math.isfinite(self.most)

    def rank(self, figure: Figure) -> float:
        """Return a number that is lower for a figure that supports the claim more.

        Of a bounded range, figures near the middle support it most; of another range, figures far inside.
        """
        if self.bounded:
            return abs(figure.value - (self.least + self.most) / 2)
        return -figure.value if math.isfinite(self.least) else figure.value

    @property
    def range_text(self) -> str:
        """The range as text: `45 to 55 %`."""
        write = FIGURES[self.figure].format
        if self.bounded:
            return _span(write, self.least, self.most)
        if math.isfinite(self.least):
            return f"{'above' if self.open else 'at least'} {write(self.least)}"
        return f"{'below' if self.open else 'at most'} {write(self.most)}"


@dataclass(frozen=True)
class Evidence:
    """The figure of one record, also as `text`, and the environment that it was measured in."""

    run_id: str
    recipe: str
    machine: str
    fingerprint: str
    figure: Figure
    text: str
    in_range: bool


@dataclass(frozen=True)
class Verdict:
    """`verdict` is one of VERDICTS, `reason` explains it in one line, and `evidence` is every record with the figure.

    The first evidence represents the verdict: the record that supports the claim most or, if every record has to be in
    the range, the one that is furthest from it.
    """

    claim: Claim
    verdict: str
    reason: str
    evidence: tuple[Evidence, ...] = ()

    @property
    def run_ids(self) -> tuple[str, ...]:
        """The runs that decided: those in the range if one is enough, else all with the figure."""
        one_is_enough = self.verdict == "reproduced" and self.claim.rule == "any"
        return tuple(item.run_id for item in self.evidence if item.in_range or not one_is_enough)


def read(path: Path = FILE) -> list[Claim]:
    """Return the claims of a file; raises ValueError if an entry is incomplete or has unknown fields."""
    content = tomllib.loads(path.read_text())
    sources = {name: _source(name, entry) for name, entry in content["sources"].items()}
    return [_claim(entry, sources) for entry in content["claims"]]


def judge(claims: Sequence[Claim], records: Sequence[RunRecord]) -> list[Verdict]:
    """Return a verdict for each claim, in order."""
    newest: dict[tuple[str, str], RunRecord] = {}
    for record in sorted(records, key=lambda record: record.created_at):
        if record.status == "done" and not sources.is_cost_only(record.spec["model"]):
            newest[record.environment["fingerprint"], record.run_id] = record
    return [_judge(claim, newest) for claim in claims]


def tally(verdicts: Sequence[Verdict]) -> dict[str, int]:
    """Return how many claims have each verdict, in the order of VERDICTS."""
    return {name: sum(item.verdict == name for item in verdicts) for name in VERDICTS}


def report(verdicts: Sequence[Verdict]) -> str:
    """Return the verdicts as text."""
    lines = [
        f"{item.verdict.ljust(17)} {item.claim.statement} {item.reason} ({item.claim.source})" for item in verdicts
    ]
    counts = ", ".join(f"{count} {name}" for name, count in tally(verdicts).items() if count)
    return "\n".join([*lines, f"{len(verdicts)} claims: {counts}."])


def as_json(verdicts: Sequence[Verdict]) -> str:
    """Return the verdicts as JSON; a missing end of a range is null."""

    def plain(verdict: Verdict) -> dict[str, Any]:
        data = {**asdict(verdict), "run_ids": verdict.run_ids}
        for item, evidence in zip(data["evidence"], verdict.evidence, strict=True):
            item["figure"] = evidence.figure._asdict()
        ends = {name: data["claim"][name] for name in ("least", "most")}
        data["claim"] |= {name: end if math.isfinite(end) else None for name, end in ends.items()}
        return data

    return json.dumps([plain(verdict) for verdict in verdicts], indent=1, allow_nan=False)


def _judge(claim: Claim, records: dict[tuple[str, str], RunRecord]) -> Verdict:
    matching = [record for record in records.values() if _matches(record, claim)]
    if not matching:
        which = "recovered record" if claim.recovered else "record"
        return Verdict(claim, "no records yet", f"No {which} of {' or '.join(claim.techniques)}.")
    testable = [record for record in matching if claim.device in (None, devices.kind(record.environment["device"]))]
    if not testable:
        return Verdict(claim, "not testable here", f"None of {_counted(len(matching))} ran on {claim.device}.")
    claim_figure = FIGURES[claim.figure]
    figures = [(record, claim_figure.compute(record, _peer(claim, record, testable, records))) for record in testable]
    evidence = [_evidence(record, figure, claim) for record, figure in figures if figure is not None]
    if not evidence:
        missing = NO_PEER if claim.peer == "next larger" else claim_figure.missing
        return Verdict(claim, "not testable here", f"None of {_counted(len(testable))} has the figure: {missing}.")
    count, values = sum(item.in_range for item in evidence), [item.figure.value for item in evidence]
    reproduced = count > 0 if claim.rule == "any" else count == len(evidence)
    write = claim_figure.format
    span = write(values[0]) if len(values) == 1 else _span(write, min(values), max(values))
    reason = f"{count} of {_counted(len(evidence))} in the range; measured: {span}."
    sign = 1 if claim.rule == "any" else -1
    evidence.sort(key=lambda item: (sign * claim.distance(item.figure), sign * claim.rank(item.figure)))
    return Verdict(claim, "reproduced" if reproduced else "not reproduced", reason, tuple(evidence))


def _evidence(record: RunRecord, figure: Figure, claim: Claim) -> Evidence:
    write, environment = FIGURES[claim.figure].format, record.environment
    ends = f" ({_span(write, figure.low, figure.high)})" if write(figure.low) != write(figure.high) else ""
    return Evidence(
        record.run_id,
        RunSpec.from_dict(record.spec).label(),
        str(environment.get("gpu") or environment["cpu"]),
        environment["fingerprint"],
        figure,
        f"{write(figure.value)}{ends}",
        claim.contains(figure),
    )


def _span(write: Callable[[float], str], low: float, high: float) -> str:
    """Return `45 to 55 %`, with the unit only once."""
    return f"{write(low).partition(' ')[0]} to {write(high)}"


def _counted(count: int) -> str:
    return f"{count} record{'s' * (count != 1)}"


def _matches(record: RunRecord, claim: Claim) -> bool:
    """Return whether all techniques of the record are among those of the claim."""
    recipe = record.spec["techniques"]
    names = {technique["name"] for technique in recipe}
    trained = all(technique.get("recover") not in (None, "none") for technique in recipe)
    return bool(names) and names <= set(claim.techniques) and (trained or not claim.recovered)


def _peer(
    claim: Claim, record: RunRecord, testable: Sequence[RunRecord], records: dict[tuple[str, str], RunRecord]
) -> RunRecord | None:
    """Return the record to compare with; None if it was not measured."""
    key = _baseline_key(record)
    if claim.peer == "baseline":
        return records.get(key)
    larger = [
        other for other in testable if _baseline_key(other) == key and _weight_bytes(other) > _weight_bytes(record)
    ]
    return min(larger, key=_weight_bytes, default=None)


def _weight_bytes(record: RunRecord) -> float:
    return metrics.WEIGHT_BYTES.read(record) or 0


def _baseline_key(record: RunRecord) -> tuple[str, str]:
    return record.environment["fingerprint"], RunSpec.from_dict(record.spec).baseline.run_id


def _source(name: str, entry: dict[str, str]) -> Source:
    if set(entry) != {"kind", "by", "link"} or entry["kind"] not in KINDS:
        raise ValueError(f"source {name!r} needs kind ({' or '.join(KINDS)}), by and link")
    return Source(**entry)


def _claim(entry: dict[str, Any], sources: dict[str, Source]) -> Claim:
    bounds = {"about", "least", "most", "above", "below"} & set(entry)
    needed = {"id", "statement", "techniques", "figure", "reported", "rule", "source"}
    if missing := sorted(needed - set(entry)):
        raise ValueError(f"claim {entry.get('id')!r} has no {missing[0]}")
    if unknown := sorted(set(entry) - needed - bounds - {"device", "peer", "recovered"}):
        raise ValueError(f"claim {entry['id']!r} has an unknown field {unknown[0]!r}")
    if not bounds or (bounds & {"about", "above", "below"} and len(bounds) > 1):
        raise ValueError(f"claim {entry['id']!r} needs about, above, below, or least and most")
    if entry.get("peer", PEERS[0]) not in PEERS:
        raise ValueError(f"claim {entry['id']!r} has an unknown peer: use one of {', '.join(PEERS)}")
    if entry["figure"] not in FIGURES or entry["rule"] not in RULES:
        raise ValueError(f"claim {entry['id']!r} has an unknown figure or rule")
    if entry["source"] not in sources:
        raise ValueError(f"claim {entry['id']!r} has an unknown source {entry['source']!r}")
    about = entry.get("about")
    least = entry.get("above", entry.get("least", -math.inf)) if about is None else about - ABOUT
    most = entry.get("below", entry.get("most", math.inf)) if about is None else about + ABOUT
    return Claim(
        id=entry["id"],
        statement=entry["statement"],
        techniques=tuple(entry["techniques"]),
        figure=entry["figure"],
        reported=entry["reported"],
        rule=entry["rule"],
        least=least,
        most=most,
        open=bool(bounds & {"above", "below"}),
        device=entry.get("device"),
        source=sources[entry["source"]],
        peer=entry.get("peer", PEERS[0]),
        recovered=entry.get("recovered", False),
    )
