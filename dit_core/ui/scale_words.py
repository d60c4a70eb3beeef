"""What the records say of how cost grows, in words. Knows no Streamlit."""

from dit_core import scale
from dit_core.scale import Line, Point, Range, Scaling
from dit_core.ui import words

SOFTMAX, DENSE = "Softmax attention", "As it is"  # what the baseline is called over tokens and over the rest
OTHERS = {"width": "Width", "depth": "Depth", "batch": "Batch"}


def told(tokens: Scaling) -> list[str]:
    """The share of attention, the fastest kind where tokens are most, and which kinds never pay."""
    sentences, most = [], tokens.places()[-1]
    dense = next((line for line in tokens.lines if not line.recipe), None)
    if dense and all(point.attention for point in dense.points):
        first, last = dense.points[0], dense.points[-1]
        sentences.append(
            f"Softmax attention takes {percent(first.attention)} of the time at {first.size.tokens:,} tokens and "
            f"{percent(last.attention)} at {last.size.tokens:,}."
        )
    rivals = [line for line in tokens.lines if line.recipe and line.points[-1].size.tokens == most]
    if rivals:
        best = max(rivals, key=lambda line: line.points[-1].speedup.value)
        pace = best.points[-1].speedup
        sentences.append(f"At {most:,} tokens **{name(best, DENSE)}** is fastest: {times(pace)} the speed.")
    slow = [name(line, DENSE).lower() for line in rivals if _crossing(line).side == "beyond"]
    if slow:
        sentences.append(f"Not faster up to there: {', '.join(slow)}.")
    return sentences


def name(line: Line, baseline: str) -> str:
    return " + ".join(words.technique_title(technique["name"]) for technique in line.recipe) or baseline


def baseline(found: Scaling) -> str:
    return SOFTMAX if found.dimension == "tokens" else DENSE


def places(found: Scaling, line: Line) -> list[int]:
    return [scale.at(point, found.dimension) for point in line.points]


def growth(line: Line) -> str:
    tokens = [point.size.tokens for point in line.points]
    return f"{scale.exponent(tokens, [point.time_s.value for point in line.points]):.2f}"


def attention_growth(line: Line) -> str:
    """Of the time that the profiler saw in attention alone."""
    tokens = [point.size.tokens for point in line.points]
    seconds = [point.time_s.value * (point.attention or 0) for point in line.points]
    return f"{scale.exponent(tokens, seconds):.2f}" if all(seconds) else words.UNKNOWN


def _crossing(line: Line, end: str = "value") -> scale.Crossing:
    tokens = [point.size.tokens for point in line.points]
    return scale.crossing(tokens, [getattr(point.speedup, end) for point in line.points])


def faster_from(line: Line) -> str:
    """`640 tokens (410 to 900)`, or in words where it lies outside of what was measured."""
    crossing = _crossing(line)
    early, late = (_tell(_crossing(line, end)) for end in ("high", "low"))
    outside = {"below": ", the smallest measured", "beyond": ", the largest measured"}.get(crossing.side, "")
    return f"{_tell(crossing)}{outside}{f' ({early} to {late})' if early != late else ''}"


def _tell(crossing: scale.Crossing) -> str:
    if crossing.side == "at":
        return words.significant(crossing.tokens, 2)
    return f"{crossing.side} {crossing.tokens:,.0f}"


def times(speedup: Range) -> str:
    return f"×{speedup.value:.2f} ({speedup.low:.2f} to {speedup.high:.2f})"


def ms(point: Point) -> str:
    return words.seconds(point.time_s.value)


def percent(share: float | None) -> str:
    return words.UNKNOWN if share is None else f"{100 * share:.0f} %"


def about(found: Scaling) -> str:
    """What is fixed, in words."""
    size, spec = found.fixed, found.record.spec
    named = [
        f"{size.tokens:,} tokens" if size.tokens else "",
        f"width {size.width}" if size.width else "",
        f"{size.depth} blocks" if size.depth else "",
        f"batch {size.batch}" if size.batch else "",
        f"{spec['steps']} step{'s' * (spec['steps'] != 1)}, guidance {spec['guidance']:g}",
        str(found.record.environment.get("gpu") or found.record.environment["cpu"]),
    ]
    return ", ".join(filter(None, named))
