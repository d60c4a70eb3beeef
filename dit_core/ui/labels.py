"""Labels beside points where there is room for them; a label that would cover another or a point is left out."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

WIDTHS, MARGINS = (
    (440, 250),
    96,
)  # pixels: a plot in half a page and on a phone; what axes and legend take of its height
LETTER, LINE, SIZE = 6.4, 15, 12  # pixels of a letter and of a line at this font size
POINT, OFF = 8, 9  # half a marker, and how far a label stands off its point
Box = tuple[float, float, float, float]  # left, top, right, bottom


def place(
    points: Sequence[tuple[float, float, str]],
    line: Sequence[tuple[float, float]],
    range_x: Sequence[float],
    range_y: Sequence[float],
    *,
    empty: tuple[bool, bool],
    height: int,
) -> list[dict[str, Any]]:
    """Plotly annotations for points `(x, y, text)` on a plot with a stepped `line` through some of them.

    `empty` is the side of the line where no point can be, as (right, below): labels go there first.
    """
    tall = height - MARGINS
    right, below = empty
    corners = ((right, below), (not right, below), (right, not below), (not right, not below))
    sizes = [_Size(width, tall, range_x, range_y, points, line) for width in WIDTHS]
    found = []
    for x, y, text in points:
        for to_right, down in corners if text else ():
            boxes = [_box(size.pixels(x, y), len(text) * LETTER, to_right, down) for size in sizes]
            if all(size.free(box) for size, box in zip(sizes, boxes, strict=True)):
                for size, box in zip(sizes, boxes, strict=True):
                    size.taken.append(box)
                found.append(_annotation(x, y, text, to_right, down))
                break
    return found


class _Size:
    """The plot at one width: where its points are, and what is taken."""

    def __init__(
        self,
        width: int,
        tall: int,
        range_x: Sequence[float],
        range_y: Sequence[float],
        points: Sequence[tuple[float, float, str]],
        line: Sequence[tuple[float, float]],
    ) -> None:
        self.width, self.tall, self.range_x, self.range_y = width, tall, range_x, range_y
        spots = [self.pixels(x, y) for x, y, _ in points]
        self.taken: list[Box] = [(px - POINT, py - POINT, px + POINT, py + POINT) for px, py in spots]
        self.taken += _steps([self.pixels(x, y) for x, y in line])

    def pixels(self, x: float, y: float) -> tuple[float, float]:
        across = (x - self.range_x[0]) / (self.range_x[1] - self.range_x[0])
        return self.width * across, self.tall * (self.range_y[1] - y) / (self.range_y[1] - self.range_y[0])

    def free(self, box: Box) -> bool:
        inside = box[0] >= 0 and box[2] <= self.width and box[1] >= 0 and box[3] <= self.tall
        return inside and not any(_overlap(box, other) for other in self.taken)


def _steps(line: list[tuple[float, float]]) -> list[Box]:
    """The line as thin boxes: level to the next point's x, then a step to its y."""
    boxes = []
    for (ax, ay), (bx, by) in pairwise(line):
        boxes.append((min(ax, bx), ay - 1, max(ax, bx), ay + 1))
        boxes.append((bx - 1, min(ay, by), bx + 1, max(ay, by)))
    return boxes


def _box(spot: tuple[float, float], width: float, right: bool, down: bool) -> Box:
    left = spot[0] + OFF if right else spot[0] - OFF - width
    top = spot[1] + OFF if down else spot[1] - OFF - LINE
    return left, top, left + width, top + LINE


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _annotation(x: float, y: float, text: str, right: bool, down: bool) -> dict[str, Any]:
    return {
        "x": x,
        "y": y,
        "text": text,
        "showarrow": False,
        "xanchor": "left" if right else "right",
        "yanchor": "top" if down else "bottom",
        "xshift": OFF if right else -OFF,
        "yshift": -OFF if down else OFF,
        "font": {"size": SIZE},
    }
