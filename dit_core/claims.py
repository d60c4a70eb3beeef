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
from typing import Any, NamedTuple

from dit_core.models import catalog
from dit_core.spec import RunRecord, RunSpec

FILE = Path(__file__).with_name("claims.toml")
VERDICTS = ("reproduced", "not reproduced", "not testable here", "no records yet")
ABOUT = 0.05  # what "about 73 %" allows on both sides
SAME_SIZE = 0.1  # relative difference of weight bytes within which two networks have equal capacity
RULES = ("any", "all")
KINDS = ("paper", "summary")


class Found(NamedTuple):
    """A figure with its interval; both ends are the figure where it has none."""

    value: float
    low: float
    high: float


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
    """One figure that somebody reports. `least` and `most` bound it; with `open` the bound itself is outside."""

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

    def holds(self, found: Found) -> bool:
        """Whether the figure's interval meets the range; of an open range, whether it lies inside."""
        return found.low > self.least if self.open else found.high >= self.least and found.low <= self.most

    def miss(self, found: Found) -> float:
        """How far outside the range a figure lies, and 0 inside."""
        nearest = found.low if self.open else found.high
        return 0.0 if self.holds(found) else max(self.least - nearest, found.low - self.most)

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
        return f"at most {tell(self.most)}"


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
        return Verdict(claim, "no records yet", f"No record of {' or '.join(claim.techniques)}.")
    here = [record for record in about if claim.device in (None, record.environment["device"])]
    if not here:
        return Verdict(claim, "not testable here", f"None of {_counted(len(about))} ran on {claim.device}.")
    figure, tell = FIGURES[claim.figure]
    found = [(record, figure(record, records.get(_baseline_key(record)))) for record in here]
    known = [_evidence(record, value, claim) for record, value in found if value is not None]
    if not known:
        why = f"None of {_counted(len(here))} has the figure: {MISSING[claim.figure]}."
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
    names = {technique["name"] for technique in record.spec["techniques"]}
    return bool(names) and names <= set(claim.techniques)


def _baseline_key(record: RunRecord) -> tuple[str, str]:
    return record.environment["fingerprint"], RunSpec.from_dict(record.spec).baseline.run_id


def _weight_saving(record: RunRecord, base: RunRecord | None) -> Found | None:
    return _saving(record.memory["weight_bytes"], record.memory["baseline_weight_bytes"])


def _peak_saving(record: RunRecord, base: RunRecord | None) -> Found | None:
    return _saving(record.memory["peak_memory_bytes"], base.memory["peak_memory_bytes"] if base else None)


def _flops_saving(record: RunRecord, base: RunRecord | None) -> Found | None:
    """Unknown where an operator was not counted."""
    return None if record.flops["uncounted"] else _saving(record.flops["flops"], record.flops["baseline_flops"])


def _speedup(record: RunRecord, base: RunRecord | None) -> Found | None:
    ratio, low, high = (record.speedup[name] for name in ("ratio", "low", "high"))
    return None if ratio is None else Found(ratio, low, high)


def _speedup_at_equal_size(record: RunRecord, base: RunRecord | None) -> Found | None:
    saving = _weight_saving(record, base)
    return _speedup(record, base) if saving and abs(saving.value) <= SAME_SIZE else None


def _throughput_loss(record: RunRecord, base: RunRecord | None) -> Found | None:
    found = _speedup(record, base)
    return Found(1 - found.value, 1 - found.high, 1 - found.low) if found else None


def _fid_increase(record: RunRecord, base: RunRecord | None) -> Found | None:
    names = [side.quality.get("fid_metric") if side else None for side in (record, base)]
    if base is None or names[0] is None or names[0] != names[1]:
        return None
    difference = record.quality["fid"] - base.quality["fid"]
    return Found(difference, difference, difference)


def _distance_increase(record: RunRecord, base: RunRecord | None) -> Found | None:
    """Relative to the baseline's distance; half widths of both intervals add in quadrature."""
    if base is None or not base.quality["distance"] or record.quality["metric"] != base.quality["metric"]:
        return None
    if None in [side.quality.get(name) for side in (record, base) for name in ("distance", "low", "high")]:
        return None
    half = math.hypot(_width(record), _width(base)) / 2
    difference, scale = record.quality["distance"] - base.quality["distance"], base.quality["distance"]
    return Found(difference / scale, (difference - half) / scale, (difference + half) / scale)


def _width(record: RunRecord) -> float:
    """Of the interval of the distance."""
    return record.quality["high"] - record.quality["low"]


def _saving(now: float | None, before: float | None) -> Found | None:
    if now is None or not before:
        return None
    saved = 1 - now / before
    return Found(saved, saved, saved)


def _percent(value: float) -> str:
    percent = 100 * value
    return f"{percent:.0f} %" if abs(percent) >= 1 or not round(percent, 2) else f"{percent:.2f} %"


def _times(value: float) -> str:
    return f"{value:.2f} times"


def _points(value: float) -> str:
    return f"{value:+.2f}"


Figure = Callable[[RunRecord, RunRecord | None], Found | None]
FIGURES: dict[str, tuple[Figure, Callable[[float], str]]] = {
    "weight_saving": (_weight_saving, _percent),
    "peak_saving": (_peak_saving, _percent),
    "flops_saving": (_flops_saving, _percent),
    "speedup": (_speedup, _times),
    "speedup_at_equal_size": (_speedup_at_equal_size, _times),
    "throughput_loss": (_throughput_loss, _percent),
    "fid_increase": (_fid_increase, _points),
    "distance_increase": (_distance_increase, _percent),
}
SHARE = {  # what a figure is a share or a multiple of
    "weight_saving": "of the baseline's weight bytes saved",
    "peak_saving": "of the baseline's peak memory saved",
    "flops_saving": "of the baseline's operations saved",
    "speedup": "the baseline's speed",
    "speedup_at_equal_size": "the speed of a baseline of equal size",
    "throughput_loss": "of the baseline's throughput lost",
    "fid_increase": "in FID over the baseline's",
    "distance_increase": "of the baseline's distance to real pictures added",
}
MISSING = {  # what a record lacks that has no such figure
    "weight_saving": "weights were not counted",
    "peak_saving": "there is no baseline record of the same workload and machine, or no peak",
    "flops_saving": "some operators have no formula",
    "speedup": "nothing was timed against a baseline",
    "speedup_at_equal_size": f"none is within {_percent(SAME_SIZE)} of its baseline's size",
    "throughput_loss": "nothing was timed against a baseline",
    "fid_increase": "FID needs Inception's weights, for the run and for its baseline",
    "distance_increase": "a run and its baseline must be judged alike, with intervals",
}


def _source(name: str, entry: dict[str, str]) -> Source:
    if set(entry) != {"kind", "by", "link"} or entry["kind"] not in KINDS:
        raise ValueError(f"source {name!r} needs kind ({' or '.join(KINDS)}), by and link")
    return Source(**entry)


def _claim(entry: dict[str, Any], sources: dict[str, Source]) -> Claim:
    bounds = {"about", "least", "most", "above"} & set(entry)
    needed = {"id", "says", "techniques", "figure", "reported", "rule", "source"}
    if lacking := sorted(needed - set(entry)):
        raise ValueError(f"claim {entry.get('id')!r} lacks {lacking[0]}")
    if unknown := sorted(set(entry) - needed - bounds - {"device"}):
        raise ValueError(f"claim {entry['id']!r} has an unknown field {unknown[0]!r}")
    if not bounds or (bounds & {"about", "above"} and len(bounds) > 1):
        raise ValueError(f"claim {entry['id']!r} needs about, above, or least and most")
    if entry["figure"] not in FIGURES or entry["rule"] not in RULES:
        raise ValueError(f"claim {entry['id']!r} has an unknown figure or rule")
    if entry["source"] not in sources:
        raise ValueError(f"claim {entry['id']!r} has an unknown source {entry['source']!r}")
    about = entry.get("about")
    least = entry.get("above", entry.get("least", -math.inf)) if about is None else about - ABOUT
    most = entry.get("most", math.inf) if about is None else about + ABOUT
    return Claim(
        id=entry["id"],
        says=entry["says"],
        techniques=tuple(entry["techniques"]),
        figure=entry["figure"],
        reported=entry["reported"],
        rule=entry["rule"],
        least=least,
        most=most,
        open="above" in bounds,
        device=entry.get("device"),
        source=sources[entry["source"]],
    )
