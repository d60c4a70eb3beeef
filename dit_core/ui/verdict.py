"""What a run buys and what it costs against its baseline, in plain words. Knows no Streamlit."""

from dataclasses import dataclass

from dit_core.spec import RunRecord
from dit_core.ui import axes, words

TIMES = 2  # from this ratio on a speed is told in fewer digits
DEGREES = ((0.15, "a little "), (0.5, ""), (float("inf"), "much "))  # by how much the distance changed


@dataclass(frozen=True)
class Verdict:
    """Gains, losses, and what did not change as far as can be told. What is not known is in none of them.

    `doubts` say what is too good to be taken as it stands.
    """

    buys: tuple[str, ...]
    costs: tuple[str, ...]
    same: tuple[str, ...]
    doubts: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Markdown, a line for each that is not empty."""
        told = (("Buys", self.buys), ("Costs", self.costs), ("Same", self.same))
        lines = [f"**{title}** {', '.join(found)}." for title, found in told if found]
        return "  \n".join([*lines, *(f"**Check** {doubt}" for doubt in self.doubts)])


def judge(record: RunRecord, base: RunRecord | None) -> Verdict:
    """The verdict on a run; `base` is its baseline's record. Time and quality count only beyond their intervals."""
    found = [verdict for verdict in (_time(record), _weights(record), _work(record), _quality(record, base)) if verdict]
    sides = (tuple(text for side, text in found if side == wanted) for wanted in ("buys", "costs", "same"))
    return Verdict(*sides, tuple(filter(None, [suspicion(record, base)])))


def suspicion(record: RunRecord, base: RunRecord | None) -> str:
    """Why quality above the baseline's is not taken for a gain; empty where nothing is suspect.

    An optimization only approximates its baseline, so being better beyond both intervals calls for an explanation as
    much as being worse does.
    """
    now, before = record.quality, base.quality if base else {}
    if base is None or not record.spec["techniques"] or not judged_alike(record, base):
        return ""
    if not axes.apart(axes.distance_spread(record), axes.distance_spread(base)) or now["distance"] > before["distance"]:
        return ""
    return (
        "It is closer to real images than its own baseline, beyond both intervals, which is as suspect as worse: it "
        "may fit the metric, differ in more than the technique (more training, another sampler), or be misjudged."
    )


def judged_alike(record: RunRecord, base: RunRecord | None) -> bool:
    """Whether both have a distance, under one metric's name."""
    now, before = record.quality, base.quality if base else {}
    return bool(now["distance"]) and all(now[key] == before.get(key) for key in ("metric", "count", "reference"))


def _time(record: RunRecord) -> tuple[str, str] | None:
    ratio, low, high = (record.speedup[name] for name in ("ratio", "low", "high"))
    if ratio is None or low is None or high is None:
        return None
    taken = words.change(1 / ratio, 1.0)
    if low <= 1 <= high or not isinstance(taken, str):
        return "same", "time"
    pace = f"{ratio:.1f}" if ratio >= TIMES else f"{ratio:.2f}"
    side, grown = ("buys", "less") if ratio > 1 else ("costs", "more")
    return side, f"{taken[1:]} {grown} time ({pace} times as fast)"


def _weights(record: RunRecord) -> tuple[str, str] | None:
    now, before = record.memory["weight_bytes"], record.memory["baseline_weight_bytes"]
    sizes = f"weights ({words.size(before)} → {words.size(now)})"
    found = _changed(now, before, "smaller", "larger", sizes)
    return ("same", "weights") if found and found[0] == "same" else found


def _work(record: RunRecord) -> tuple[str, str] | None:
    found = _changed(record.flops["flops"], record.flops["baseline_flops"], "fewer", "more", "operations")
    return ("same", "number of operations") if found and found[0] == "same" else found


def _quality(record: RunRecord, base: RunRecord | None) -> tuple[str, str] | None:
    now, before = record.quality, base.quality if base else {}
    if not judged_alike(record, base):
        return None
    if not axes.apart(axes.distance_spread(record), axes.distance_spread(base) if base else None):
        return "same", f"quality, as far as {now['count']:,} images can tell"
    grown = now["distance"] / before["distance"] - 1
    how = next(word for limit, word in DEGREES if abs(grown) < limit)
    figures = f"distance {words.significant(before['distance'])} → {words.significant(now['distance'])}"
    where = f"pictures {how}{'further from' if grown > 0 else 'closer to'} real ones ({figures})"
    return "costs" if grown > 0 else "buys", where


def _changed(now: float | None, before: float | None, less: str, more: str, what: str) -> tuple[str, str] | None:
    change = words.change(now, before)
    if change is None or isinstance(change, int):
        return None if change is None else ("same", what)
    grown = change.startswith("+")
    return "costs" if grown else "buys", f"{change[1:]} {more if grown else less} {what}"
