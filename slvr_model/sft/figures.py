"""From how held-out questions fared to figures: shares, the gap between own latents and targets, and how sure it is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from slvr_data.stats import stratified_rate


@dataclass(frozen=True)
class Fared:
    """A held-out question in one of its forms."""

    query_id: str
    image_id: str
    lettered: bool
    """Its choices were shown, and a letter was asked for."""
    own: bool
    """Right with the model's own latents."""
    teacher: bool | None
    """Right with targets in place of them; None: there are none."""
    hidden: bool | None
    """Right behind latents and echo alone; None: it has no echo."""
    ended: bool
    """The reply with own latents was not cut off."""


def figures(fared: Sequence[Fared]) -> dict[str, float]:
    """Shares of what was asked: of all of it, and as `open_...` and `lettered_...` of each form that there is.

    `accuracy`, `teacher_accuracy` and `gap` (the second minus the first), with `gap_low` and `gap_high`, its 95 %
    interval over pictures (`difference`); `hidden_accuracy`, `ended`; `samples` questions of `pictures` pictures.
    """
    found = {
        "samples": float(len({one.query_id for one in fared})),
        "pictures": float(len({one.image_id for one in fared})),
        "ended": _share([one.ended for one in fared]),
    }
    hidden = [one.hidden for one in fared if one.hidden is not None]
    if hidden:
        found["hidden_accuracy"] = _share(hidden)
    found |= _answers("", fared)
    for prefix, lettered in (("open_", False), ("lettered_", True)):
        if some := [one for one in fared if one.lettered is lettered]:
            found |= _answers(prefix, some)
    return found


def _answers(prefix: str, fared: Sequence[Fared]) -> dict[str, float]:
    own = _share([one.own for one in fared])
    found = {"accuracy": own}
    both = [one for one in fared if one.teacher is not None]
    if both:
        teacher = _share([bool(one.teacher) for one in both])
        low, high = difference(
            [one.image_id for one in both],
            [bool(one.teacher) and not one.own for one in both],
            [one.own and not one.teacher for one in both],
        )
        found |= {"teacher_accuracy": teacher, "gap": teacher - own, "gap_low": low, "gap_high": high}
    return {f"{prefix}{name}": value for name, value in found.items()}


def difference(pictures: Sequence[str], gained: Sequence[bool], lost: Sequence[bool]) -> tuple[float, float]:
    """The 95 % interval of (share gained - share lost) over pictures, whose questions count as one observation.

    Zou and Donner's from the intervals (l, u) of both shares p (gained) and q (lost), which are `stratified_rate`'s:
    low = p - q - sqrt(a^2 + b^2 - 2 r a b) with a = p - l_p, b = u_q - q, and high with the other ends; r is what the
    shares of one sample have in common, -sqrt(p q / ((1 - p) (1 - q))).

    Args:
        pictures: of which each question is.
        gained: it is right in the second way alone.
        lost: it is right in the first way alone.
    """
    places = {picture: place for place, picture in enumerate(dict.fromkeys(pictures))}
    which = np.asarray([places[picture] for picture in pictures], np.int64)
    asked = np.bincount(which, minlength=len(places))
    up, down = (stratified_rate(np.bincount(which, np.asarray(flags), len(places)), asked, np.ones(len(places)))
                for flags in (gained, lost))  # fmt: skip
    p, q = up.rate or 0.0, down.rate or 0.0
    r = -math.sqrt(p * q / ((1 - p) * (1 - q))) if p and q else 0.0
    return max(-1.0, p - q - _half(p - up.low, down.high - q, r)), min(1.0, p - q + _half(up.high - p, q - down.low, r))


def _half(a: float, b: float, r: float) -> float:
    return math.sqrt(max(0.0, a * a + b * b - 2 * r * a * b))


def _share(flags: Sequence[bool]) -> float:
    return sum(flags) / max(len(flags), 1)
