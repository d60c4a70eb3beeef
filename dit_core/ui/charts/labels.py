"""Labels next to the points of a plot. A label without room is omitted. Imports no Streamlit.

Positions are computed for a wide and a narrow plot at once, because one figure serves every screen: a label must fit
both. On a phone, labels may cover points but not each other.
"""

from collections.abc import Sequence
from html import escape
from itertools import pairwise
from typing import Any

WIDTHS = (440, 250)  # pixels: a plot in half a page and on a phone
LEGEND_COLUMNS, LEGEND_ROW, AXIS = (3, 2), 19, 84  # pixels of a row of the legend, and of the axis with its margins
LETTER, LINE, FONT_SIZE = 6.4, 15, 12  # pixels of a letter and of a line at this font size
MAX_LINE = 16  # letters of a line that is not broken
POINT, DISTANCE_X = 8, 9  # pixels: half a marker, and horizontal distance of a label from its point
DISTANCES_Y = (9, 26, 46, 70, 100)  # vertical distances of a label from its point, tried in this order
COLOUR = "#7A828E"
Box = tuple[float, float, float, float]  # left, top, right, bottom


def place_labels(
    points: Sequence[tuple[float, float, str]],
    line: Sequence[tuple[float, float]],
    range_x: Sequence[float],
    range_y: Sequence[float],
    *,
    empty: tuple[bool, bool],
    height: int,
    legend_entries: int = 3,
) -> list[dict[str, Any]]:
    """Return Plotly annotations for points `(x, y, text)` on a plot with a stepped `line` through some of them.

    `empty` is the side of the line without points, as (right, below): labels are tried there first. The legend takes
    part of the `height`.
    """
    heights = [height - AXIS - LEGEND_ROW * -(-legend_entries // columns) for columns in LEGEND_COLUMNS]
    right, below = empty
    corners = ((right, below), (not right, below), (right, not below), (not right, not below))
    positions = [(distance, *corner) for distance in DISTANCES_Y for corner in corners]
    wide, narrow = (_Canvas(*size, range_x, range_y) for size in zip(WIDTHS, heights, strict=True))
    wide.keep_free(points, line)
    annotations = []
    for x, y, text in points:
        lines = _wrapped(text)
        size = max(map(len, lines)) * LETTER, len(lines) * LINE
        for position in positions if text else ():
            boxes = [(canvas, _label_box(canvas.pixels(x, y), size, *position)) for canvas in (wide, narrow)]
            leaders = [(canvas, _leader_box(canvas.pixels(x, y), *position)) for canvas in (wide, narrow)]
            free = all(canvas.is_free(box) for canvas, box in boxes)
            if free and not any(canvas.crosses_label(leader) for canvas, leader in leaders):
                for canvas, box in boxes:
                    canvas.labels.append(box)
                for canvas, leader in leaders:
                    canvas.leaders.append(leader)
                annotations.append(_annotation(x, y, escape("\n".join(lines), quote=False), *position))
                break
    return annotations


class _Canvas:
    """The plot at one width: converts values to pixels and knows which areas are occupied."""

    def __init__(self, width: int, height: int, range_x: Sequence[float], range_y: Sequence[float]) -> None:
        self.width, self.height, self.range_x, self.range_y = width, height, range_x, range_y
        self.occupied: list[Box] = []  # by points and the line
        self.labels: list[Box] = []
        self.leaders: list[Box] = []  # thin lines from points to their labels

    def keep_free(self, points: Sequence[tuple[float, float, str]], line: Sequence[tuple[float, float]]) -> None:
        """Keep labels off these points and off the stepped line."""
        centres = [self.pixels(x, y) for x, y, _ in points]
        self.occupied += [(px - POINT, py - POINT, px + POINT, py + POINT) for px, py in centres]
        self.occupied += _step_boxes([self.pixels(x, y) for x, y in line])

    def pixels(self, x: float, y: float) -> tuple[float, float]:
        """Return the position of a value, in pixels from the left and from the top."""
        across = (x - self.range_x[0]) / (self.range_x[1] - self.range_x[0])
        return self.width * across, self.height * (self.range_y[1] - y) / (self.range_y[1] - self.range_y[0])

    def is_free(self, box: Box) -> bool:
        """Return whether a label fits here without covering anything."""
        inside = box[0] >= 0 and box[2] <= self.width and box[1] >= 0 and box[3] <= self.height
        return inside and not any(_overlap(box, other) for other in (*self.occupied, *self.labels, *self.leaders))

    def crosses_label(self, leader: Box) -> bool:
        """Return whether the line to a label would cross another label."""
        return any(_overlap(leader, other) for other in self.labels)


def _step_boxes(line: Sequence[tuple[float, float]]) -> list[Box]:
    """Return a stepped line as thin boxes: horizontal to the next point's x, then vertical to its y."""
    boxes = []
    for (ax, ay), (bx, by) in pairwise(line):
        boxes.append((min(ax, bx), ay - 1, max(ax, bx), ay + 1))
        boxes.append((bx - 1, min(ay, by), bx + 1, max(ay, by)))
    return boxes


def _wrapped(text: str) -> list[str]:
    """Return one line for each technique of a stack, and two lines for a technique with a long title and knobs."""
    lines = []
    for technique in text.replace(" + ", " +\n").splitlines() or [""]:
        name, comma, knobs = technique.partition(", ")
        lines += [name + comma.strip(), knobs] if comma and len(technique) > MAX_LINE else [technique]
    return lines


def _label_box(point: tuple[float, float], size: tuple[float, float], distance: int, right: bool, below: bool) -> Box:
    left = point[0] + DISTANCE_X if right else point[0] - DISTANCE_X - size[0]
    top = point[1] + distance if below else point[1] - distance - size[1]
    return left, top, left + size[0], top + size[1]


def _leader_box(point: tuple[float, float], distance: int, right: bool, below: bool) -> Box:
    """Return the box around the thin line from a point to its label."""
    x, y = point[0] + (DISTANCE_X if right else -DISTANCE_X), point[1] + (distance if below else -distance)
    return min(x, point[0]), min(y, point[1]), max(x, point[0]), max(y, point[1])


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _annotation(x: float, y: float, text: str, distance: int, right: bool, below: bool) -> dict[str, Any]:
    """Return the label of a point; a thin line leads to a label that is not directly next to its point."""
    return {
        "x": x,
        "y": y,
        "text": text.replace("\n", "<br>"),
        "showarrow": True,
        "arrowhead": 0,
        "arrowwidth": 0.8,
        "arrowcolor": COLOUR if distance > DISTANCES_Y[0] else "rgba(0, 0, 0, 0)",
        "standoff": POINT,
        "ax": DISTANCE_X if right else -DISTANCE_X,
        "ay": distance if below else -distance,
        "xanchor": "left" if right else "right",
        "yanchor": "top" if below else "bottom",
        "align": "left" if right else "right",
        "font": {"size": FONT_SIZE},
    }
