"""Accuracy over the number of visual slots: which scores these are, and the points of their chart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol, TypeVar

from benchmark.interventions.names import FAMILY, intervention_of
from benchmark.pages.charts import Point
from benchmark.records import Header


class _Score(Protocol):
    @property
    def value(self) -> float | None: ...
    @property
    def low(self) -> float | None: ...
    @property
    def high(self) -> float | None: ...


_Any = TypeVar("_Any")


def slot_scores(scores: Mapping[str, _Any], own: int | None) -> dict[int, _Any]:
    """Number of visual slots -> accuracy with so many; with the model's own number it is the plain accuracy.

    Empty for a run that was not asked with other numbers.
    """
    found: dict[int, _Any] = {}
    for name, score in scores.items():
        family, _, rest = name.partition("/")
        change = intervention_of(f"{FAMILY}-{rest.partition('/')[0]}") if family == FAMILY else None
        if change is not None and change.slots is not None and name.endswith("/accuracy"):
            found[change.slots] = score
    if found and own is not None and own not in found:
        found[own] = scores["accuracy"]
    return dict(sorted(found.items()))


def own_slots(headers: Iterable[Header]) -> int | None:
    """The number of visual slots that all of these runs' models were trained with; None where they do not tell one."""
    told = {header.model_details.get("visual_slots") for header in headers}
    (number,) = told if len(told) == 1 else (None,)
    return number if isinstance(number, int) else None


def slot_points(scores: Mapping[int, _Score], own: int | None) -> list[Point]:
    """The points of a chart."""
    return [
        Point(number, score.value, score.low, score.high, number == own)
        for number, score in scores.items()
        if score.value is not None
    ]
