"""Dots and whiskers: places on an axis in percent of its width, so that a strip fits any screen and stays sharp."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil, floor, isfinite

_STEPS = (1.0, 2.0, 5.0, 10.0, 20.0, 25.0, 50.0)
_MOST_STEPS = 4


@dataclass(frozen=True)
class Axis:
    """A scale from `low` to `high`."""

    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    """Place in percent, and the words there."""
    zero: float | None = None
    """Where zero lies within, in percent."""

    def place(self, value: float) -> float:
        """In percent of the width, held within the axis."""
        share = (value - self.low) / (self.high - self.low)
        return round(100 * min(1.0, max(0.0, share)), 2)


@dataclass(frozen=True)
class Strip:
    """A dot and its whisker in percent; None for what is not drawn."""

    dot: float | None
    low: float | None
    high: float | None
    mark: float | None = None
    """A tick to compare with, such as chance."""
    dots: tuple[float, ...] = ()
    """Single values beside the estimate, such as those of seeds."""


def _written(value: float, percent: bool) -> str:
    shown = f"{100 * value:g}" if percent else f"{value:g}"
    return shown.replace("-", "−")


def share_axis() -> Axis:
    """From 0 to 100 %."""
    return Axis(0.0, 1.0, tuple((25.0 * i, f"{25 * i}") for i in range(5)))


def fitting_axis(values: Iterable[float | None], percent: bool = True) -> Axis:
    """An axis around zero that holds all values, symmetric, with round ticks, about five.

    Values are shares, -1 to 1; ticks are in points (`percent`) or as they are.
    """
    largest = max((abs(v) for v in values if v is not None and isfinite(v)), default=0.0)
    reach = min(100.0, max(1.0, 105 * largest))
    step = next((s for s in _STEPS if 2 * reach / s <= _MOST_STEPS), _STEPS[-1])
    limit = max(step, ceil(reach / step) * step)
    marks = [i * step for i in range(floor(-limit / step), floor(limit / step) + 1)]
    low, high = -limit / 100, limit / 100
    places = tuple((round(50 + 50 * m / limit, 2), _written(m / 100, percent)) for m in marks)
    return Axis(low, high, places, zero=50.0)


def strip(axis: Axis, value: float | None, low: float | None, high: float | None, mark: float | None = None) -> Strip:
    """An estimate on an axis."""
    dot, low, high, mark = (None if v is None or not isfinite(v) else axis.place(v) for v in (value, low, high, mark))
    return Strip(dot, low, high, mark) if low is not None and high is not None else Strip(dot, None, None, mark)
