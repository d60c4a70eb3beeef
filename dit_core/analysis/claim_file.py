"""The claims of papers as data: what each says, who says it, which records test it, and in which range. No torch."""

import math
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from dit_core.analysis.claim_figures import FIGURES, Figure

FILE = Path(__file__).with_name("claims.toml")
ABOUT = 0.05  # "about 73 %" allows this difference on both sides
KINDS = ("paper", "summary")
PEERS = ("baseline", "next larger")
NO_PEER = "there is no larger run of the same techniques, workload and machine to compare it with"
TEST_IMAGES = 5000  # judged by the runs that would test a claim
State = Literal["in range", "outside", "undecided"]


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

    A record is evidence if all its techniques are among `techniques` and its knobs have the values of `knobs`. With
    `recovered`, only runs count that were trained after the technique changed them. `peer` is what a record is compared
    with: its baseline, or the claim's next larger record; with `against`, the record that differs in these knobs only.
    `test` has the recipes that would test the claim.
    """

    id: str
    statement: str
    techniques: tuple[str, ...]
    figure: str
    reported: str
    least: float
    most: float
    open: bool
    device: str | None
    source: Source
    test: tuple[str, ...]
    peer: str = PEERS[0]
    recovered: bool = False
    knobs: dict[str, Any] = field(default_factory=dict, hash=False)
    against: dict[str, Any] = field(default_factory=dict, hash=False)

    def state(self, figure: Figure) -> State:
        """Return where the whole interval of a figure lies: a figure whose interval holds an end is undecided.

        The value itself does not count. An interval without width, of a figure that is counted, is always decided.
        """
        low, high = figure.low, figure.high
        if self.open:
            inside, outside = low > self.least and high < self.most, high <= self.least or low >= self.most
        else:
            inside, outside = low >= self.least and high <= self.most, high < self.least or low > self.most
        return "in range" if inside else "outside" if outside else "undecided"

    def rank(self, figure: Figure) -> float:
        """Return a number that is lower for a figure that supports the claim more.

        Of a bounded range, figures near the middle support it most; of another range, figures far inside.
        """
        if self.bounded:
            return abs(figure.value - (self.least + self.most) / 2)
        return -figure.value if math.isfinite(self.least) else figure.value

    @property
    def bounded(self) -> bool:
        """Whether the range has two ends."""
        return math.isfinite(self.least) and math.isfinite(self.most)

    @property
    def range_text(self) -> str:
        """The range as text: `45 to 55 %`."""
        write = FIGURES[self.figure].format
        if self.bounded:
            return span(write, self.least, self.most)
        if math.isfinite(self.least):
            return f"{'above' if self.open else 'at least'} {write(self.least)}"
        return f"{'below' if self.open else 'at most'} {write(self.most)}"

    @property
    def commands(self) -> tuple[str, ...]:
        """The commands that measure the records that would test the claim, with the baseline first if it is needed."""
        options = f" --samples {TEST_IMAGES}" + (f" --device {self.device}" if self.device else "")
        recipes = [f" --technique {recipe}" for recipe in self.test]
        if FIGURES[self.figure].needs_peer and self.peer == PEERS[0] and not self.against:
            recipes.insert(0, "")
        return tuple(f"python -m dit_core run{recipe}{options}" for recipe in recipes)


def read(path: Path = FILE) -> list[Claim]:
    """Return the claims of a file; raises ValueError if an entry is incomplete or has unknown fields."""
    content = tomllib.loads(path.read_text())
    sources = {name: _source(name, entry) for name, entry in content["sources"].items()}
    return [_claim(entry, sources) for entry in content["claims"]]


def span(write: Any, low: float, high: float) -> str:
    """Return `45 to 55 %`, with the unit only once."""
    return f"{write(low).partition(' ')[0]} to {write(high)}"


def _source(name: str, entry: dict[str, str]) -> Source:
    if set(entry) != {"kind", "by", "link"} or entry["kind"] not in KINDS:
        raise ValueError(f"source {name!r} needs kind ({' or '.join(KINDS)}), by and link")
    return Source(**entry)


def _claim(entry: dict[str, Any], sources: dict[str, Source]) -> Claim:
    bounds = {"about", "least", "most", "above", "below"} & set(entry)
    needed = {"id", "statement", "techniques", "figure", "reported", "source", "test"}
    if missing := sorted(needed - set(entry)):
        raise ValueError(f"claim {entry.get('id')!r} has no {missing[0]}")
    if unknown := sorted(set(entry) - needed - bounds - {"device", "peer", "recovered", "knobs", "against"}):
        raise ValueError(f"claim {entry['id']!r} has an unknown field {unknown[0]!r}")
    if not bounds or (bounds & {"about", "above", "below"} and len(bounds) > 1):
        raise ValueError(f"claim {entry['id']!r} needs about, above, below, or least and most")
    if entry.get("peer", PEERS[0]) not in PEERS:
        raise ValueError(f"claim {entry['id']!r} has an unknown peer: use one of {', '.join(PEERS)}")
    if entry["figure"] not in FIGURES:
        raise ValueError(f"claim {entry['id']!r} has an unknown figure")
    if entry["source"] not in sources:
        raise ValueError(f"claim {entry['id']!r} has an unknown source {entry['source']!r}")
    about = entry.get("about")
    return Claim(
        id=entry["id"],
        statement=entry["statement"],
        techniques=tuple(entry["techniques"]),
        figure=entry["figure"],
        reported=entry["reported"],
        least=entry.get("above", entry.get("least", -math.inf)) if about is None else about - ABOUT,
        most=entry.get("below", entry.get("most", math.inf)) if about is None else about + ABOUT,
        open=bool(bounds & {"above", "below"}),
        device=entry.get("device"),
        source=sources[entry["source"]],
        test=tuple(entry["test"]),
        peer=entry.get("peer", PEERS[0]),
        recovered=entry.get("recovered", False),
        knobs=entry.get("knobs", {}),
        against=entry.get("against", {}),
    )
