"""What words like "small", "top left" and "left of" mean: pure functions of boxes.

All annotators and checks that speak of size, position and relations use these definitions, so that a
measured profile, a drawn scene and a check never disagree about a word. A box is [x1, y1, x2, y2] in
absolute pixels of the upright picture.
"""

from __future__ import annotations

from collections.abc import Sequence

SIZES = ("small", "medium", "large")
SMALL_SHARE = 0.03
LARGE_SHARE = 0.15

RELATIONS = ("left of", "right of", "above", "below")
INVERSE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}

POSITIONS = (
    "top left", "top", "top right",
    "left", "center", "right",
    "bottom left", "bottom", "bottom right",
)  # fmt: skip

Box = Sequence[float]


def size_of(box: Box, width: float, height: float) -> str:
    """The share of the picture's area that the box covers, as a word.

    Below 3 % it is "small", from 15 % "large", otherwise "medium".
    """
    share = (box[2] - box[0]) * (box[3] - box[1]) / (width * height)
    if share < SMALL_SHARE:
        return "small"
    return "large" if share >= LARGE_SHARE else "medium"


def position_of(box: Box, width: float, height: float) -> str:
    """The cell of a 3x3 grid over the picture in which the centre of the box lies."""
    column = min(2, int(3 * (box[0] + box[2]) / 2 / width))
    row = min(2, int(3 * (box[1] + box[3]) / 2 / height))
    return POSITIONS[3 * row + column]


def relation_of(box: Box, other: Box) -> str | None:
    """How `box` stands to `other`, or None where no single word is plainly true.

    A relation holds where the boxes do not overlap along its axis and the centres are at least as far
    apart along it as across it: the two never hold both of "left of" and "above".
    """
    dx = (box[0] + box[2] - other[0] - other[2]) / 2
    dy = (box[1] + box[3] - other[1] - other[3]) / 2
    if abs(dx) > abs(dy):
        if box[2] <= other[0]:
            return "left of"
        if other[2] <= box[0]:
            return "right of"
    elif abs(dy) > abs(dx):
        if box[3] <= other[1]:
            return "above"
        if other[3] <= box[1]:
            return "below"
    return None


def nearest(box: Box, others: Sequence[Box], most: int) -> list[int]:
    """Indices of the `most` boxes whose centres are nearest, the nearest first; ties by index."""
    cx, cy = box[0] + box[2], box[1] + box[3]
    distances = [((o[0] + o[2] - cx) ** 2 + (o[1] + o[3] - cy) ** 2, i) for i, o in enumerate(others)]
    return [i for _, i in sorted(distances)[:most]]


def padded(box: Box, padding: float, width: int, height: int) -> tuple[int, int, int, int]:
    """The whole-pixel box grown on every side by `padding` times its longer side, clipped to the picture."""
    grow = padding * max(box[2] - box[0], box[3] - box[1])
    x1 = max(0, int(box[0] - grow))
    y1 = max(0, int(box[1] - grow))
    x2 = min(width, -int(-(box[2] + grow) // 1))
    y2 = min(height, -int(-(box[3] + grow) // 1))
    return x1, y1, x2, y2
