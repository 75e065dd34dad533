"""Whether one picture was made of the other: features that agree on one placement, and pixels that agree under it.

A placement scales and shifts, each axis by itself, and does not turn. The proposed one is that on which most pairs of
alike features agree (all hypotheses of two pairs are tried: there is no chance in it). Where both pictures show the
same, grey values must then agree too, everywhere: features alone also agree where two drawings share one shape.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from slvr_data.avoid.features import FINE, Described

LEAST_INLIERS = 4
"""Pairs of features that must agree on the placement."""
MANY_INLIERS, WIDE = 20, 0.3
"""So many, spread over such a share of the common part's width and height, make a placement credible by themselves."""
LEAST_SPREAD = 0.1
"""Share of the common part's width and height over which any pairs must spread."""
LEAST_COMMON = 0.35
"""Share of one of the pictures that the other must show too, where the placement is credible."""
INSIDE, REST = 0.85, 0.3
"""Where it is not: one picture must lie within the other by so much, and be such a share of it."""
LEAST_AGREEMENT = 0.92
"""Correlation of the grey values' differences over the common part, where the placement is credible."""
LEAST_AGREEMENT_ALONE = 0.97
"""The same where few features say so."""
LEAST_AGREEMENT_WHOLE, MOST_DIFFERENCE_WHOLE = 0.9, 8.0
"""The same from edge to edge, without features; and the bound in place of `MOST_DIFFERENCE`."""
MOST_DIFFERENCE = 24.0
"""Of 0..255: mean difference that no sixteenth of the common part may exceed, brightness and contrast adjusted."""
CELLS = 24
"""The common part is compared as this many cells each way."""
_RATIO = 0.64
"""A pair counts where its squared distance is below this part of the next best one's (Lowe's 0.8, squared)."""
_TOLERANCE = 3.0 * FINE
_HYPOTHESES = 48
"""Pairs, the most alike first, from which placements are proposed."""
_LEAST_APART = 12 * FINE
_SCALES = (0.12, 8.0)
_STRETCH = 1.5
_LEAST_DETAIL = 0.5
"""Mean difference of neighbouring cells below which a picture shows too little to be compared."""

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Agreement:
    """How two pictures agree; boxes are shares of width and height, [x1, y1, x2, y2]."""

    inliers: int
    agreement: float
    box: Box
    """What of the first picture the other shows too."""
    other_box: Box


@dataclass(frozen=True)
class _Placement:
    """Where a point of the first picture lies in the other: `scale` * point + `shift`, per axis."""

    scale: NDArray[np.float64]
    shift: NDArray[np.float64]


def by_features(one: Described, other: Described) -> Agreement | None:
    """The agreement of two pictures that share a part, or None where they do not."""
    here, there = _pairs(one, other)
    if len(here) < LEAST_INLIERS:
        return None
    found = [_agreed(one, other, here, placement, inside) for placement, inside in _placements(here, there)]
    return max((agreed for agreed in found if agreed is not None), key=lambda agreed: agreed.agreement, default=None)


def _agreed(
    one: Described, other: Described, here: NDArray[np.float64], placement: _Placement, inside: NDArray[np.bool_]
) -> Agreement | None:
    boxes = _common(one, other, placement)
    if boxes is None:
        return None
    count, spread = int(inside.sum()), _spread(here[inside], one, boxes[0])
    if spread < LEAST_SPREAD:
        return None
    credible = count >= MANY_INLIERS and spread >= WIDE
    shares = sorted((_area(boxes[0]), _area(boxes[1])))
    if shares[1] < LEAST_COMMON or not (credible or (shares[1] >= INSIDE and shares[0] >= REST)):
        return None
    agreement = _agreement(one, other, *boxes, LEAST_AGREEMENT if credible else LEAST_AGREEMENT_ALONE)
    return None if agreement is None else Agreement(count, agreement, *boxes)


def as_a_whole(one: Described, other: Described) -> Agreement | None:
    """The agreement of two pictures that show the same from edge to edge, or None."""
    aspect = one.width * other.height / (one.height * other.width)
    whole: Box = (0.0, 0.0, 1.0, 1.0)
    if not 0.95 < aspect < 1.05:
        return None
    agreement = _agreement(one, other, whole, whole, LEAST_AGREEMENT_WHOLE, MOST_DIFFERENCE_WHOLE)
    return None if agreement is None else Agreement(0, agreement, whole, whole)


def _pairs(one: Described, other: Described) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Places of features that are each other's nearest, the most alike pair first; [n, 2] each."""
    empty = np.empty((0, 2))
    if len(one.descriptors) < 2 or len(other.descriptors) < 2:
        return empty, empty
    a, b = one.descriptors.astype(np.float32), other.descriptors.astype(np.float32)
    # whole numbers below 2**24: exact in float32, in whatever order they are summed
    distances = (a * a).sum(1)[:, None] + (b * b).sum(1)[None, :] - 2 * (a @ b.T)
    nearest, back = distances.argmin(1), distances.argmin(0)
    every = np.arange(len(a))
    best = distances[every, nearest]
    distances[every, nearest] = np.inf
    rows = np.flatnonzero((back[nearest] == every) & (best < _RATIO * distances.min(1)))
    rows = rows[np.argsort(best[rows], kind="stable")]
    return one.places[rows].astype(np.float64), other.places[nearest[rows]].astype(np.float64)


def _placements(
    here: NDArray[np.float64], there: NDArray[np.float64]
) -> Iterator[tuple[_Placement, NDArray[np.bool_]]]:
    """The placement on which most pairs agree, fitted to them with a scale per axis and with one scale."""
    scales, shifts = _hypotheses(here, there)
    if not len(scales):
        return
    off = np.abs(scales[:, None] * here[None] + shifts[:, None] - there[None]).max(2)
    counts = (off <= _TOLERANCE * np.maximum(1.0, scales.max(1))[:, None]).sum(1)
    best = int(counts.argmax())
    if counts[best] < LEAST_INLIERS:
        return
    for one_scale in (False, True):
        placement = _Placement(scales[best], shifts[best])
        inside = _inside(here, there, placement)
        for _ in range(3):
            placement = _fitted(here[inside], there[inside], placement, one_scale)
            inside = _inside(here, there, placement)
            if inside.sum() < LEAST_INLIERS:
                break
        else:
            if _possible(placement.scale[None])[0]:
                yield placement, inside


def _hypotheses(
    here: NDArray[np.float64], there: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Scales and shifts [h, 2] that two pairs tell: with one scale for both axes, and with one for each."""
    first, second = np.triu_indices(min(len(here), _HYPOTHESES), 1)
    apart, moved = here[second] - here[first], there[second] - there[first]
    length = (apart**2).sum(1)
    one = (apart * moved).sum(1) / np.maximum(length, 1)
    each = np.divide(moved, apart, out=np.zeros_like(moved), where=apart != 0)
    scales = np.concatenate([np.stack([one, one], 1), each])
    usable = np.concatenate([length >= _LEAST_APART**2, np.abs(apart).min(1) >= _LEAST_APART]) & _possible(scales)
    starts = np.concatenate([first, first])[usable]
    return scales[usable], there[starts] - scales[usable] * here[starts]


def _possible(scales: NDArray[np.float64]) -> NDArray[np.bool_]:
    low, high = scales.min(1), scales.max(1)
    found: NDArray[np.bool_] = (low >= _SCALES[0]) & (high <= _SCALES[1]) & (high <= _STRETCH * low)
    return found


def _inside(here: NDArray[np.float64], there: NDArray[np.float64], placement: _Placement) -> NDArray[np.bool_]:
    off = np.abs(placement.scale * here + placement.shift - there).max(1)
    found: NDArray[np.bool_] = off <= _TOLERANCE * max(1.0, float(placement.scale.max()))
    return found


def _fitted(here: NDArray[np.float64], there: NDArray[np.float64], before: _Placement, one_scale: bool) -> _Placement:
    """Least squares; an axis along which the pairs do not spread keeps its scale."""
    middle, target = here.mean(0), there.mean(0)
    spread = ((here - middle) ** 2).sum(0)
    both = ((here - middle) * (there - target)).sum(0)
    if one_scale:
        spread, both = np.full(2, spread.sum()), np.full(2, both.sum())
    scale = np.where(spread > len(here) * FINE**2, both / np.maximum(spread, 1), before.scale)
    return _Placement(scale, target - scale * middle)


def _common(one: Described, other: Described, placement: _Placement) -> tuple[Box, Box] | None:
    """The common part in shares of each picture; None where there is next to none."""
    size = np.array([other.width, other.height]) * float(FINE)
    own = np.array([one.width, one.height]) * float(FINE)
    low = np.maximum(0.0, placement.shift)
    high = np.minimum(size, placement.scale * own + placement.shift)
    if (high - low).min() <= 4 * FINE:
        return None
    own_low, own_high = (low - placement.shift) / placement.scale, (high - placement.shift) / placement.scale
    return _box(own_low / own, own_high / own), _box(low / size, high / size)


def _box(low: NDArray[np.float64], high: NDArray[np.float64]) -> Box:
    x1, y1, x2, y2 = np.clip(np.round(np.concatenate([low, high]), 4), 0, 1).tolist()
    return x1, y1, x2, y2


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _spread(places: NDArray[np.float64], one: Described, box: Box) -> float:
    """Over what share of the box places spread, of width or height: the smaller."""
    x1, y1, x2, y2 = box
    size = np.array([(x2 - x1) * one.width, (y2 - y1) * one.height]) * FINE
    return float(((places.max(0) - places.min(0)) / size).min())


def _agreement(
    one: Described, other: Described, box: Box, other_box: Box, least: float, most: float = MOST_DIFFERENCE
) -> float | None:
    """The correlation of differences between neighbouring cells; None where it, or any place, speaks against."""
    a, b = _cells(one, box), _cells(other, other_box)
    steps_a, steps_b = _steps(a), _steps(b)
    if min(np.abs(steps_a).sum(), np.abs(steps_b).sum()) < _LEAST_DETAIL * len(steps_a):
        return None
    both = int((steps_a * steps_b).sum())
    agreement = both / float(int((steps_a**2).sum()) * int((steps_b**2).sum())) ** 0.5
    if agreement < least or _largest_difference(a, b) > most:
        return None
    return float(round(agreement, 3))


def _cells(picture: Described, box: Box) -> NDArray[np.int64]:
    height, width = picture.small.shape
    x1, y1, x2, y2 = box
    part = (x1 * width, y1 * height, x2 * width, y2 * height)
    image = Image.fromarray(np.ascontiguousarray(picture.small))
    return np.asarray(image.resize((CELLS, CELLS), Image.Resampling.BILINEAR, box=part)).astype(np.int64)


def _steps(cells: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate([np.diff(cells, axis=0).ravel(), np.diff(cells, axis=1).ravel()])


def _largest_difference(a: NDArray[np.int64], b: NDArray[np.int64]) -> float:
    """The largest mean difference of a sixteenth, `a` brought to the brightness and contrast of `b`, or the other way
    round: of both, the one that raises no contrast.
    """
    if a.std() < b.std():
        a, b = b, a
    middle, target = a.mean(), b.mean()
    gain = float(((a - middle) * (b - target)).sum()) / max(1.0, float(((a - middle) ** 2).sum()))
    difference = np.abs((a - middle) * gain + target - b)
    side = CELLS // 4
    return float(difference.reshape(4, side, 4, side).mean((1, 3)).max())
