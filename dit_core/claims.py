"""What a paper and its summaries claim, judged from records alone. Imports no torch.

A claim (`claims.toml`) names a figure, the recipes that it is about and a range. A verdict is computed, never typed:

- reproduced: by the claim's rule one record, or every record, lies in the range as far as its interval can tell;
- not reproduced: there are records, and by that rule they do not;
- not testable here: there are records, but none has the figure, or none ran on the device that the claim is about;
- no records yet.

Only finished runs of trained weights count, the newest of each in one environment. A verdict holds its evidence: every
record that has the figure, where it was made, and whether it is in the range.
"""

import json
import math
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dit_core.claimed import FIGURES, MISSING, Found
from dit_core.models import catalog
from dit_core.spec import RunRecord, RunSpec

FILE = Path(__file__).with_name("claims.toml")
VERDICTS = ("reproduced", "not reproduced", "not testable here", "no records yet")
ABOUT = 0.05  # what "about 73 %" allows on both sides
RULES = ("any", "all")
KINDS = ("paper", "summary")
PEERS = ("baseline", "next larger")
NO_PEER = "there is no larger run of the same techniques, workload and machine to compare it with"


@dataclass(frozen=True)
class Source:
    """Who reports a figure: the paper itself or a summary of it, named in `by`, with a link."""

    kind: str
    by: str
    link: str

    def __str__(self) -> str:
        return self.by if self.kind == "paper" else f"summary: {self.by}"


@dataclass(frozen=True)
class Claim:
    """One figure that somebody reports. `least` and `most` bound it; with `open` the bounds themselves are outside.

    `peer` is what a record is compared with: its baseline, or the next larger record of the claim's own. With
    `recovered` only runs count that were trained after the technique changed them.
    """

    id: str
    says: str
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

    def holds(self, found: Found) -> bool:
        """Whether the figure's interval meets the range; of an open range, whether it lies inside."""
        if self.open:
            return found.low > self.least and found.high < self.most
        return found.high >= self.least and found.low <= self.most

    def miss(self, found: Found) -> float:
        """How far outside the range a figure lies, and 0 inside."""
        lowest, highest = (found.low, found.high) if self.open else (found.high, found.low)
        return 0.0 if self.holds(found) else max(self.least - lowest, highest - self.most)

    @property
    def bounded(self) -> bool:
        """Whether the range has two ends."""
        return math.isfinite(self.least) and math.isfinite(self.most)

    def short_of_best(self, found: Found) -> float:
        """Less for a figure that speaks better for the claim: beyond the only end of a range, or near its middle."""
        if self.bounded:
            return abs(found.value - (self.least + self.most) / 2)
        return -found.value if math.isfinite(self.least) else found.value

    @property
    def counts(self) -> str:
        """The range in words: `45 % to 55 %`."""
        tell = FIGURES[self.figure][1]
        if self.bounded:
            return _span(tell, self.least, self.most)
        if math.isfinite(self.least):
            return f"{'above' if self.open else 'at least'} {tell(self.least)}"
        return f"{'below' if self.open else 'at most'} {tell(self.most)}"


@dataclass(frozen=True)
class Evidence:
    """What one record says of a claim: its figure, in words too, and the environment that it was made in."""

    run_id: str
    recipe: str
    machine: str
    fingerprint: str
    figure: Found
    told: str
    holds: bool


@dataclass(frozen=True)
class Verdict:
    """`verdict` is one of VERDICTS; `why` says it in a line; `evidence` are all records with the figure.

    The first of the evidence speaks for it: the best for the claim or, where every record has to be in the range, the
    one that misses it most.
    """

    claim: Claim
    verdict: str
    why: str
    evidence: tuple[Evidence, ...] = ()

    @property
    def run_ids(self) -> tuple[str, ...]:
        """The records that decided: those in the range where one is enough, else all that have the figure."""
        enough = self.verdict == "reproduced" and self.claim.rule == "any"
        return tuple(one.run_id for one in self.evidence if one.holds or not enough)


def read(path: Path = FILE) -> list[Claim]:
    """The claims of a file; raises ValueError where an entry is not whole."""
    told = tomllib.loads(path.read_text())
    sources = {name: _source(name, entry) for name, entry in told["sources"].items()}
    return [_claim(entry, sources) for entry in told["claims"]]


def judge(claims: Sequence[Claim], records: Sequence[RunRecord]) -> list[Verdict]:
    """A verdict for each claim, in order."""
    newest: dict[tuple[str, str], RunRecord] = {}
    for record in sorted(records, key=lambda record: record.created_at):
        if record.status == "done" and not catalog.is_random(record.spec["model"]):
            newest[record.environment["fingerprint"], record.run_id] = record
    return [_judge(claim, newest) for claim in claims]


def tally(verdicts: Sequence[Verdict]) -> dict[str, int]:
    """How many claims got each verdict, in the order of VERDICTS."""
    return {name: sum(one.verdict == name for one in verdicts) for name in VERDICTS}


def report(verdicts: Sequence[Verdict]) -> str:
    """The verdicts for a person."""
    lines = [f"{one.verdict.ljust(17)} {one.claim.says} {one.why} ({one.claim.source})" for one in verdicts]
    counted = ", ".join(f"{count} {name}" for name, count in tally(verdicts).items() if count)
    return "\n".join([*lines, f"{len(verdicts)} claims: {counted}."])


def as_json(verdicts: Sequence[Verdict]) -> str:
    """The verdicts as data; an end of a range that is open is null."""

    def plain(verdict: Verdict) -> dict[str, Any]:
        data = {**asdict(verdict), "run_ids": verdict.run_ids}
        for one, evidence in zip(data["evidence"], verdict.evidence, strict=True):
            one["figure"] = evidence.figure._asdict()
        ends = {name: data["claim"][name] for name in ("least", "most")}
        data["claim"] |= {name: end if math.isfinite(end) else None for name, end in ends.items()}
        return data

    return json.dumps([plain(verdict) for verdict in verdicts], indent=1, allow_nan=False)


def _judge(claim: Claim, records: dict[tuple[str, str], RunRecord]) -> Verdict:
    about = [record for record in records.values() if _is_about(record, claim)]
    if not about:
        which = "recovered record" if claim.recovered else "record"
        return Verdict(claim, "no records yet", f"No {which} of {' or '.join(claim.techniques)}.")
    here = [record for record in about if claim.device in (None, record.environment["device"])]
    if not here:
        return Verdict(claim, "not testable here", f"None of {_counted(len(about))} ran on {claim.device}.")
    figure, tell = FIGURES[claim.figure]
    found = [(record, figure(record, _peer(claim, record, here, records))) for record in here]
    known = [_evidence(record, value, claim) for record, value in found if value is not None]
    if not known:
        why = NO_PEER if claim.peer == "next larger" else MISSING[claim.figure]
        why = f"None of {_counted(len(here))} has the figure: {why}."
        return Verdict(claim, "not testable here", why)
    hits, values = sum(one.holds for one in known), [one.figure.value for one in known]
    reproduced = hits > 0 if claim.rule == "any" else hits == len(known)
    span = f"it is {tell(values[0])}" if len(known) == 1 else f"they go from {_span(tell, min(values), max(values))}"
    why = f"{hits} of {_counted(len(known))} in the range; {span}."
    sign = 1 if claim.rule == "any" else -1
    known.sort(key=lambda one: (sign * claim.miss(one.figure), sign * claim.short_of_best(one.figure)))
    return Verdict(claim, "reproduced" if reproduced else "not reproduced", why, tuple(known))


def _evidence(record: RunRecord, figure: Found, claim: Claim) -> Evidence:
    tell, environment = FIGURES[claim.figure][1], record.environment
    around = f" ({_span(tell, figure.low, figure.high)})" if tell(figure.low) != tell(figure.high) else ""
    return Evidence(
        record.run_id,
        RunSpec.from_dict(record.spec).label(),
        str(environment.get("gpu") or environment["cpu"]),
        environment["fingerprint"],
        figure,
        f"{tell(figure.value)}{around}",
        claim.holds(figure),
    )


def _span(tell: Callable[[float], str], low: float, high: float) -> str:
    """`45 to 55 %`: the unit once, after the higher end."""
    return f"{tell(low).partition(' ')[0]} to {tell(high)}"


def _counted(count: int) -> str:
    return f"{count} record{'s' * (count != 1)}"


def _is_about(record: RunRecord, claim: Claim) -> bool:
    recipe = record.spec["techniques"]
    names = {technique["name"] for technique in recipe}
    trained = all(technique.get("recover") not in (None, "none") for technique in recipe)
    return bool(names) and names <= set(claim.techniques) and (trained or not claim.recovered)


def _peer(
    claim: Claim, record: RunRecord, here: Sequence[RunRecord], records: dict[tuple[str, str], RunRecord]
) -> RunRecord | None:
    """What a record is compared with; None where that was not measured."""
    if claim.peer == "baseline":
        return records.get(_baseline_key(record))
    bytes_of, key = _weight_bytes, _baseline_key(record)
    larger = [one for one in here if _baseline_key(one) == key and bytes_of(one) > bytes_of(record)]
    return min(larger, key=bytes_of, default=None)


def _weight_bytes(record: RunRecord) -> int:
    return record.memory["weight_bytes"] or 0


def _baseline_key(record: RunRecord) -> tuple[str, str]:
    return record.environment["fingerprint"], RunSpec.from_dict(record.spec).baseline.run_id


def _source(name: str, entry: dict[str, str]) -> Source:
    if set(entry) != {"kind", "by", "link"} or entry["kind"] not in KINDS:
        raise ValueError(f"source {name!r} needs kind ({' or '.join(KINDS)}), by and link")
    return Source(**entry)


def _claim(entry: dict[str, Any], sources: dict[str, Source]) -> Claim:
    bounds = {"about", "least", "most", "above", "below"} & set(entry)
    needed = {"id", "says", "techniques", "figure", "reported", "rule", "source"}
    if lacking := sorted(needed - set(entry)):
        raise ValueError(f"claim {entry.get('id')!r} lacks {lacking[0]}")
    if unknown := sorted(set(entry) - needed - bounds - {"device", "peer", "recovered"}):
        raise ValueError(f"claim {entry['id']!r} has an unknown field {unknown[0]!r}")
    if not bounds or (bounds & {"about", "above", "below"} and len(bounds) > 1):
        raise ValueError(f"claim {entry['id']!r} needs about, above, below, or least and most")
    if entry.get("peer", PEERS[0]) not in PEERS:
        raise ValueError(f"claim {entry['id']!r} is compared with one of {', '.join(PEERS)}")
    if entry["figure"] not in FIGURES or entry["rule"] not in RULES:
        raise ValueError(f"claim {entry['id']!r} has an unknown figure or rule")
    if entry["source"] not in sources:
        raise ValueError(f"claim {entry['id']!r} has an unknown source {entry['source']!r}")
    about = entry.get("about")
    least = entry.get("above", entry.get("least", -math.inf)) if about is None else about - ABOUT
    most = entry.get("below", entry.get("most", math.inf)) if about is None else about + ABOUT
    return Claim(
        id=entry["id"],
        says=entry["says"],
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
