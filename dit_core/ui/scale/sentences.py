"""Sentences and table cells on how cost grows, computed from records. Knows no Streamlit."""

from dit_core.analysis import scaling
from dit_core.analysis.scaling import Line, Point, Range, Scaling
from dit_core.ui import format

SOFTMAX, UNMODIFIED = "Softmax attention", "Unmodified network"  # the baseline's names: over tokens, and over the rest
DIMENSIONS = {"width": "Width", "depth": "Depth", "batch": "Batch"}  # the titles are part of links


def findings(tokens: Scaling) -> list[str]:
    """Return sentences on the share of attention, the fastest kind at most tokens, and the kinds that never pay off."""
    sentences, most = [], tokens.places()[-1]
    baseline = next((line for line in tokens.lines if not line.recipe), None)
    if baseline and all(point.attention for point in baseline.points):
        first, last = baseline.points[0], baseline.points[-1]
        sentences.append(
            f"Softmax attention takes {percent(first.attention)} of the time at {first.size.tokens:,} tokens and "
            f"{percent(last.attention)} at {last.size.tokens:,}."
        )
    kinds = [line for line in tokens.lines if line.recipe and line.points[-1].size.tokens == most]
    if kinds:
        fastest = max(kinds, key=lambda line: line.points[-1].speedup.value)
        ratio = speedup(fastest.points[-1].speedup)
        sentences.append(f"At {most:,} tokens **{title(fastest, SOFTMAX)}** is fastest, with a speed-up of {ratio}.")
    slow = [title(line, SOFTMAX).lower() for line in kinds if _crossing(line).side == "beyond"]
    if slow:
        sentences.append(f"Never faster than softmax attention in this range: {', '.join(slow)}.")
    return sentences


def title(line: Line, baseline: str) -> str:
    """Return the techniques of a line, or the name of the baseline."""
    return " + ".join(format.technique_title(technique["name"]) for technique in line.recipe) or baseline


def baseline_title(scale: Scaling) -> str:
    """Return the baseline's name on the plots over this dimension."""
    return SOFTMAX if scale.dimension == "tokens" else UNMODIFIED


def places(scale: Scaling, line: Line) -> list[int]:
    """Return the sizes at which a line was measured, along the dimension that grows."""
    return [scaling.at(point, scale.dimension) for point in line.points]


def time_exponent(line: Line) -> str:
    """Return the exponent with which the time of an image grows with its tokens."""
    tokens = [point.size.tokens for point in line.points]
    return f"{scaling.exponent(tokens, [point.time_s.value for point in line.points]):.2f}"


def attention_exponent(line: Line) -> str:
    """Return the same for the time that the profiler attributed to attention."""
    tokens = [point.size.tokens for point in line.points]
    seconds = [point.time_s.value * (point.attention or 0) for point in line.points]
    return f"{scaling.exponent(tokens, seconds):.2f}" if all(seconds) else format.UNKNOWN


def faster_from(line: Line) -> str:
    """Return the number of tokens from which a line is faster, with its range: `640 (410 to 900)`."""
    crossing = _crossing(line)
    early, late = (_tokens(_crossing(line, end)) for end in ("high", "low"))
    limit = {"below": ", the smallest measured", "beyond": ", the largest measured"}.get(crossing.side, "")
    return f"{_tokens(crossing)}{limit}{f' ({early} to {late})' if early != late else ''}"


def speedup(ratio: Range) -> str:
    return f"×{ratio.value:.2f} ({ratio.low:.2f} to {ratio.high:.2f})"


def milliseconds(point: Point) -> str:
    return format.seconds(point.time_s.value)


def percent(share: float | None) -> str:
    return format.UNKNOWN if share is None else f"{100 * share:.0f} %"


def fixed_settings(scale: Scaling) -> str:
    """Return what is the same for all points: the rest of the size, the workload and the device."""
    size, spec = scale.fixed, scale.record.spec
    settings = [
        f"{size.tokens:,} tokens" if size.tokens else "",
        f"width {size.width}" if size.width else "",
        f"{size.depth} blocks" if size.depth else "",
        f"batch {size.batch}" if size.batch else "",
        f"{spec['steps']} step{'s' * (spec['steps'] != 1)}, guidance {spec['guidance']:g}",
        str(scale.record.environment.get("gpu") or scale.record.environment["cpu"]),
    ]
    return ", ".join(filter(None, settings))


def _crossing(line: Line, end: str = "value") -> scaling.Crossing:
    """Where the speed-up, or an end of its interval, passes 1."""
    tokens = [point.size.tokens for point in line.points]
    return scaling.crossing(tokens, [getattr(point.speedup, end) for point in line.points])


def _tokens(crossing: scaling.Crossing) -> str:
    if crossing.side == "at":
        return format.significant(crossing.tokens, 2)
    return f"{crossing.side} {crossing.tokens:,.0f}"
