"""What a run gains and loses against its baseline, in sentences. Imports no Streamlit."""

from dataclasses import dataclass
from typing import Literal

from dit_core.recipes.registry import registry
from dit_core.records import metrics
from dit_core.records.metric import Metric, apart
from dit_core.records.paired import Paired, missing_replicates, paired
from dit_core.records.record import RunRecord
from dit_core.ui import format
from dit_core.ui.comparisons import judged_alike

FEWER_DIGITS_FROM = 2  # speed-ups from this ratio on are written with one decimal
SAMPLING = "sampling"  # family of the techniques that need not approximate the baseline's images
DEGREES = ((0.15, "slightly "), (0.5, ""), (float("inf"), "much "))  # by relative change of the distance
Side = Literal["gains", "losses", "unchanged"]
Finding = tuple[Side, str]


@dataclass(frozen=True)
class Verdict:
    """Gains, losses and properties without a difference that was found; unknown ones are in none of them.

    `doubts` are reasons to distrust an improvement.
    """

    gains: tuple[str, ...]
    losses: tuple[str, ...]
    unchanged: tuple[str, ...]
    doubts: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return Markdown with one line for each non-empty part."""
        parts = (("Gains", self.gains), ("Losses", self.losses), ("No difference found", self.unchanged))
        lines = [f"**{title}:** {', '.join(texts)}." for title, texts in parts if texts]
        return "  \n".join([*lines, *(f"**Check:** {doubt}" for doubt in self.doubts)])


def verdict_of(record: RunRecord, base: RunRecord | None) -> Verdict:
    """Return the verdict on a run; `base` is its baseline's record.

    A difference of time or quality counts only if it exceeds the intervals.
    """
    findings = (
        _time(record),
        _share(metrics.WEIGHT_BYTES, record, ("smaller", "larger"), "weights", sizes=True),
        _share(metrics.FLOPS, record, ("fewer", "more"), "operations"),
        _quality(record, base),
    )
    by_side: dict[Side, list[str]] = {"gains": [], "losses": [], "unchanged": []}
    for side, text in filter(None, findings):
        by_side[side].append(text)
    doubt = doubt_about(record, base)
    return Verdict(*(tuple(texts) for texts in by_side.values()), doubts=(doubt,) if doubt else ())


def doubt_about(record: RunRecord, base: RunRecord | None) -> str:
    """Return why a quality above the baseline's is suspicious, or how to read it; empty if it is not above.

    An optimization approximates its baseline, so an improvement beyond the interval needs an explanation. Another
    solver or another guidance is one.
    """
    quality = metrics.PRIMARY_QUALITY
    if pair := paired(record):
        better = pair.verdict == "better"
    elif base is None or not record.spec["techniques"] or not judged_alike(record, base):
        return ""
    else:
        closer = quality.is_better(quality.read(record) or 0.0, quality.read(base) or 0.0)
        better = closer and apart(quality.interval(record), quality.interval(base))
    if not better:
        return ""
    known = registry()
    if any(known[entry["name"]].family == SAMPLING for entry in record.spec["techniques"] if entry["name"] in known):
        return (
            "The images are closer to real images than the baseline's. This recipe samples in another way, which can "
            "improve images: compare class accuracy as well."
        )
    return (
        "The images are closer to real images than the baseline's, beyond the interval, which is suspicious. "
        "The run may overfit the metric, may differ in more than the technique (more training, another sampler), or "
        "may be measured wrongly."
    )


def _time(record: RunRecord) -> Finding | None:
    ratio, interval = metrics.SPEEDUP.stored(record), metrics.SPEEDUP.interval(record)
    if ratio is None or interval is None:
        return None
    change = format.change(1 / ratio, 1.0)
    if interval[0] <= 1 <= interval[1] or not isinstance(change, str):
        return "unchanged", "time"
    times = f"{ratio:.1f}" if ratio >= FEWER_DIGITS_FROM else f"{ratio:.2f}"
    side, direction = ("gains", "less") if ratio > 1 else ("losses", "more")
    return side, f"{change[1:]} {direction} time ({times} times as fast)"


def _share(
    metric: Metric, record: RunRecord, directions: tuple[str, str], noun: str, *, sizes: bool = False
) -> Finding | None:
    """Return the change of an exact metric in percent; with `sizes`, also both values."""
    value, before = metric.read(record), metric.read_baseline(record)
    change = format.change(value, before)
    if value is None or before is None or change is None:
        return None
    if isinstance(change, int):
        return "unchanged", noun
    grown = change.startswith("+")
    before_text, text = (format.quantity(metric.scale * number, metric.unit) for number in (before, value))
    values = f" ({before_text} → {text})" if sizes else ""
    side: Side = "losses" if grown else "gains"
    return side, f"{change[1:]} {directions[grown]} {noun}{values}"


def _quality(record: RunRecord, base: RunRecord | None) -> Finding | None:
    """Return the verdict on the pairs; of records without it, whether the intervals of both distances overlap."""
    quality, count = metrics.PRIMARY_QUALITY, metrics.JUDGED_IMAGES.read(record) or 0
    value = quality.read(record) or 0.0
    if missing := missing_replicates(record):
        return "unchanged", f"quality (not tested: {missing})"
    if pair := paired(record):
        if pair.verdict == "no difference detected":
            return "unchanged", f"quality ({count:,} images would show a difference of {_detectable(pair, record)})"
        before = value - pair.difference
    elif base is None or not judged_alike(record, base):
        return None
    else:
        before = quality.read(base) or 0.0
        if not apart(quality.interval(record), quality.interval(base)):
            return "unchanged", f"quality (not compared on the same seeds: the intervals of {count:,} images overlap)"
    if before <= 0:
        return None
    change = value / before - 1
    degree = next(word for limit, word in DEGREES if abs(change) < limit)
    values = f"distance {format.significant(before)} → {format.significant(value)}"
    side, direction = ("losses", "further from") if change > 0 else ("gains", "closer to")
    return side, f"images {degree}{direction} real images ({values})"


def _detectable(pair: Paired, record: RunRecord) -> str:
    share = pair.share(pair.detectable, record)
    return f"{format.significant(pair.detectable)} or more" if share is None else f"{100 * share:.1f} % or more"
