"""Labels beside points where there is room for them; a label that would cover another or a point is left out.

On a phone, where a plot is narrow, labels may cover points but not each other.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

WIDTHS = (440, 250)  # pixels: a plot in half a page and on a phone
ACROSS, ROW, AXIS = (3, 2), 19, 84  # names in a row of the legend; pixels of such a row, and of the axis with margins
LETTER, LINE, SIZE = 6.4, 15, 12  # pixels of a letter and of a line at this font size
WIDEST = 16  # letters of a line that still breaks nowhere
POINT, ASIDE = 8, 9  # half a marker, and how far a label stands beside its point
OFF = (9, 26, 46, 70, 100)  # how far above or below, the nearest place first
COLOUR = "#7A828E"
Box = tuple[float, float, float, float]  # left, top, right, bottom


def place(
    points: Sequence[tuple[float, float, str]],
    line: Sequence[tuple[float, float]],
    range_x: Sequence[float],
    range_y: Sequence[float],
    *,
    empty: tuple[bool, bool],
    height: int,
    names: int = 3,
) -> list[dict[str, Any]]:
    """Plotly annotations for points `(x, y, text)` on a plot with a stepped `line` through some of them.

    `empty` is the side of the line where no point can be, as (right, below): labels go there first.
    `names` of the legend take their part of the `height`.
    """
    tall = [height - AXIS - ROW * -(-names // across) for across in ACROSS]
    right, below = empty
    corners = ((right, below), (not right, below), (right, not below), (not right, not below))
    spots = [(off, *corner) for off in OFF for corner in corners]
    wide, narrow = (_Size(*size, range_x, range_y) for size in zip(WIDTHS, tall, strict=True))
    wide.keep_free(points, line)
    found = []
    for x, y, text in points:
        lines = _wrapped(text)
        size = max(map(len, lines)) * LETTER, len(lines) * LINE
        for spot in spots if text else ():
            boxes = [(plot, _box(plot.pixels(x, y), size, *spot)) for plot in (wide, narrow)]
            ways = [(plot, _way(plot.pixels(x, y), *spot)) for plot in (wide, narrow)]
            if all(plot.free(box) for plot, box in boxes) and not any(plot.crossed(way) for plot, way in ways):
                for plot, box in boxes:
                    plot.labels.append(box)
                for plot, way in ways:
                    plot.ways.append(way)
                found.append(_annotation(x, y, "<br>".join(lines), *spot))
                break
    return found


class _Size:
    """The plot at one width: where its points are, and what is taken."""

    def __init__(self, width: int, tall: int, range_x: Sequence[float], range_y: Sequence[float]) -> None:
        self.width, self.tall, self.range_x, self.range_y = width, tall, range_x, range_y
        self.taken: list[Box] = []  # by points and the line
        self.labels: list[Box] = []
        self.ways: list[Box] = []  # of thin lines from points to their labels

    def keep_free(self, points: Sequence[tuple[float, float, str]], line: Sequence[tuple[float, float]]) -> None:
        """No label may cover these points, nor the stepped line."""
        spots = [self.pixels(x, y) for x, y, _ in points]
        self.taken += [(px - POINT, py - POINT, px + POINT, py + POINT) for px, py in spots]
        self.taken += _steps([self.pixels(x, y) for x, y in line])

    def pixels(self, x: float, y: float) -> tuple[float, float]:
        across = (x - self.range_x[0]) / (self.range_x[1] - self.range_x[0])
        return self.width * across, self.tall * (self.range_y[1] - y) / (self.range_y[1] - self.range_y[0])

    def free(self, box: Box) -> bool:
        inside = box[0] >= 0 and box[2] <= self.width and box[1] >= 0 and box[3] <= self.tall
        return inside and not any(_overlap(box, other) for other in (*self.taken, *self.labels, *self.ways))

    def crossed(self, way: Box) -> bool:
        """Whether the line to a label would run through another label."""
        return any(_overlap(way, other) for other in self.labels)


def _steps(line: list[tuple[float, float]]) -> list[Box]:
    """The line as thin boxes: level to the next point's x, then a step to its y."""
    boxes = []
    for (ax, ay), (bx, by) in pairwise(line):
        boxes.append((min(ax, bx), ay - 1, max(ax, bx), ay + 1))
        boxes.append((bx - 1, min(ay, by), bx + 1, max(ay, by)))
    return boxes


def _wrapped(text: str) -> list[str]:
    """One line for each technique of a stack, and two for a technique whose name and knobs are long together."""
    lines = []
    for technique in text.replace(" + ", " +\n").splitlines() or [""]:
        name, comma, knobs = technique.partition(", ")
        lines += [name + comma.strip(), knobs] if comma and len(technique) > WIDEST else [technique]
    return lines


def _box(point: tuple[float, float], size: tuple[float, float], off: int, right: bool, down: bool) -> Box:
    left = point[0] + ASIDE if right else point[0] - ASIDE - size[0]
    top = point[1] + off if down else point[1] - off - size[1]
    return left, top, left + size[0], top + size[1]


def _way(point: tuple[float, float], off: int, right: bool, down: bool) -> Box:
    """Where the thin line from a point to its label runs."""
    x, y = point[0] + (ASIDE if right else -ASIDE), point[1] + (off if down else -off)
    return min(x, point[0]), min(y, point[1]), max(x, point[0]), max(y, point[1])


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _annotation(x: float, y: float, text: str, off: int, right: bool, down: bool) -> dict[str, Any]:
    """The label beside its point; a thin line leads to one that stands further off."""
    return {
        "x": x,
        "y": y,
        "text": text,
        "showarrow": True,
        "arrowhead": 0,
        "arrowwidth": 0.8,
        "arrowcolor": COLOUR if off > OFF[0] else "rgba(0, 0, 0, 0)",
        "standoff": POINT,
        "ax": ASIDE if right else -ASIDE,
        "ay": off if down else -off,
        "xanchor": "left" if right else "right",
        "yanchor": "top" if down else "bottom",
        "align": "left" if right else "right",
        "font": {"size": SIZE},
    }
