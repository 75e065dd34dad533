"""Line charts with whiskers: a score over a number, such as accuracy over the number of latent slots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor

WIDTH, HEIGHT = 560, 260
LEFT, RIGHT, TOP, BOTTOM = 44, 12, 12, 34
_STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.25, 0.5)
_MOST_STEPS = 6


@dataclass(frozen=True)
class Point:
    """A value at a number; `low` and `high` are None where it has no interval."""

    x: int
    value: float
    low: float | None = None
    high: float | None = None
    own: bool = False
    """Whether it is marked: the number that a model was trained with."""


@dataclass(frozen=True)
class ShownPoint:
    """In units of the chart's view box."""

    x: float
    y: float
    low: float | None
    high: float | None
    own: bool


@dataclass(frozen=True)
class ChartLine:
    """The line of a run or an arm."""

    run: int
    """Its place in the legend."""
    path: str
    points: Sequence[ShownPoint]


@dataclass(frozen=True)
class Chart:
    """A chart of shares from 0 to 1, ready to be drawn in a view box of WIDTH x HEIGHT."""

    words: str
    """What is below the axis."""
    x_ticks: Sequence[tuple[float, str]]
    y_ticks: Sequence[tuple[float, str]]
    """Place, and percent."""
    lines: Sequence[ChartLine]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    bottom: int = HEIGHT - BOTTOM


def chart(words: str, lines: Sequence[tuple[int, Sequence[Point]]]) -> Chart | None:
    """The chart of some lines (place in the legend, points); None where there is nothing to draw.

    Points of several lines at one number stand beside each other, so that no whisker covers another.
    """
    lines = [(run, sorted(points, key=lambda point: point.x)) for run, points in lines if points]
    if not lines:
        return None
    points = [point for _, own in lines for point in own]
    numbers = sorted({point.x for point in points})
    values = [value for point in points for value in (point.value, point.low, point.high) if value is not None]
    step, low, high = _span(min(values), max(values))
    apart = (WIDTH - LEFT - RIGHT) / len(numbers)
    beside = min(9.0, 0.6 * apart / len(lines))
    place = {number: LEFT + (rank + 0.5) * apart for rank, number in enumerate(numbers)}

    def down(value: float) -> float:
        return round(TOP + (HEIGHT - TOP - BOTTOM) * (high - value) / (high - low), 1)

    drawn = []
    for rank, (run, own) in enumerate(lines):
        shift = beside * (rank - (len(lines) - 1) / 2)
        shown = [
            ShownPoint(
                round(place[point.x] + shift, 1),
                down(point.value),
                None if point.low is None else down(point.low),
                None if point.high is None else down(point.high),
                point.own,
            )
            for point in own
        ]
        drawn.append(ChartLine(run, "M" + "L".join(f"{point.x:g} {point.y:g}" for point in shown), shown))
    steps = range(round(low / step), round(high / step) + 1)
    return Chart(
        words,
        [(round(at, 1), str(number)) for number, at in place.items()],
        [(down(i * step), f"{100 * i * step:g}") for i in steps],
        drawn,
    )


def _span(low: float, high: float) -> tuple[float, float, float]:
    """A round step, and an axis in such steps that holds `low` to `high`, within 0 to 1."""
    reach = max(high - low, 0.02)
    step = next((step for step in _STEPS if reach / step <= _MOST_STEPS), _STEPS[-1])
    first = min(floor(low / step + 1e-9), round(1 / step) - 1)
    last = max(ceil(high / step - 1e-9), first + 1)
    return step, max(0.0, first * step), min(1.0, last * step)
