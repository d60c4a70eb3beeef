"""Runs as the points of one plot: which have both figures, which lead, which are drawn, and all that in words."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from dit_core.spec import RunRecord
from dit_core.store import Stored
from dit_core.ui import points, words
from dit_core.ui.axes import Axis, Spread
from dit_core.ui.points import front, point_id

MOST = 200  # points on one plot; of more the nearest to the front are drawn


@dataclass(frozen=True)
class Dot:
    """A run on one plot; `leading` where no other run beats it."""

    id: str
    record: RunRecord
    origin: str
    family: str
    title: str
    short: str
    x: float
    y: float
    spread_x: Spread
    spread_y: Spread
    leading: bool


def nearest(dots: Sequence[Dot], x: Axis, y: Axis, marked: Collection[str | None] = (), most: int = MOST) -> list[Dot]:
    """The dots of the front, of the front without it, and so on, until there are `most`; and those that are marked."""
    kept: set[int] = {i for i, dot in enumerate(dots) if dot.id in marked}
    rest = list(range(len(dots)))
    while rest and len(kept) < most:
        layer = {rest[i] for i in front([(dots[j].x, dots[j].y) for j in rest], x, y)}
        kept |= layer
        rest = [i for i in rest if i not in layer]
    return [dots[i] for i in sorted(kept)]


def describe(dots: Sequence[Dot], x: Axis, y: Axis) -> str:
    """The plot in a sentence, for those who hear the page."""
    leading = sorted((dot for dot in dots if dot.leading), key=lambda dot: dot.x)
    best = "; ".join(f"{dot.title}: {x.text(dot.x)}, {y.text(dot.y)}" for dot in leading)
    return f"{y.title} against {x.title.lower()}: {len(dots)} runs, {len(leading)} on the Pareto front. {best}."


def front_names(dots: Sequence[Dot], x: Axis) -> str:
    """The points of the front by name, the best on `x` first, each with its value."""
    leading = sorted((dot for dot in dots if dot.leading), key=lambda dot: dot.x, reverse=x.better == "more")
    named = "; ".join(f"{dot.short} ({words.significant(dot.x)})" for dot in leading)
    return f"On the front, {x.title.lower()} in {x.unit}: {named}."


def plotted(runs: Sequence[Stored], x: Axis, y: Axis) -> list[Stored]:
    """The runs that have a figure on both axes."""
    return [one for one in runs if x.read(one.record) is not None and y.read(one.record) is not None]


def dots_of(runs: Sequence[Stored], x: Axis, y: Axis) -> list[Dot]:
    """The runs that have a figure on both axes, as points."""
    shown = [(one, x.read(one.record), y.read(one.record)) for one in runs]
    placed = [(one, px, py) for one, px, py in shown if px is not None and py is not None]
    specs = [points.spec_of(one) for one, _, _ in placed]
    leading = set(front([(px, py) for _, px, py in placed], x, y))
    return [
        Dot(
            point_id(one),
            one.record,
            one.origin,
            words.family(spec),
            words.title(spec),
            short,
            px,
            py,
            x.spread(one.record) or (px, px),
            y.spread(one.record) or (py, py),
            i in leading,
        )
        for i, ((one, px, py), spec, short) in enumerate(zip(placed, specs, words.brief_titles(specs), strict=True))
    ]
