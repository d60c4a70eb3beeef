"""What a record says about its quality compared with its baseline's on the same seeds. Imports no torch."""

from dataclasses import dataclass
from typing import Literal

from dit_core.records import metrics
from dit_core.records.record import RunRecord

VerdictName = Literal["better", "no difference detected", "worse"]


@dataclass(frozen=True)
class Paired:
    """The verdict of a paired comparison of distances, and the smallest difference that it could have detected."""

    verdict: VerdictName
    difference: float
    low: float
    high: float
    detectable: float

    def share(self, value: float, record: RunRecord) -> float | None:
        """Return a difference as a share of the baseline's distance; None if that is not positive."""
        base = (metrics.DISTANCE.read(record) or 0.0) - self.difference
        return value / base if base > 0 else None


def verdict_on(low: float, high: float) -> VerdictName:
    """Return the verdict on the interval of a difference of distances, where lower is better."""
    return "better" if high < 0 else "worse" if low > 0 else "no difference detected"


def missing_replicates(record: RunRecord) -> str:
    """Return how many of the sets of images that the run asks for are missing, as a clause; empty if none is.

    A figure over the other sets is no figure of the run, so nothing is concluded from it.
    """
    asked, judged = record.spec.get("replicates", 1), record.quality.get("replicates")
    values = (record.quality.get("replicate_values") or {}).get(metrics.DISTANCE.name)
    count = min(judged or asked, len(values)) if values else judged or asked
    return "" if count >= asked else f"{count} of {asked} replicates were judged"


def paired(record: RunRecord) -> Paired | None:
    """Return a record's paired comparison; None for a baseline, an older record, or one with images missing."""
    difference, ends = metrics.DIFFERENCE.read(record), metrics.DIFFERENCE.interval(record)
    detectable = metrics.DETECTABLE.stored(record)
    if difference is None or ends is None or detectable is None or missing_replicates(record):
        return None
    return Paired(verdict_on(*ends), difference, *ends, detectable)
