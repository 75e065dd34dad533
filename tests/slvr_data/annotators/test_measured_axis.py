"""The main axis of a mask is decided by whole numbers: at a threshold, too, nothing depends on how sums are rounded."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from numpy.typing import NDArray

from slvr_data.annotators.measured import orientation


def blob(seed: int) -> NDArray[np.bool_]:
    """A lying ellipse with frayed edges; small enough that every pixel counts."""
    dice = np.random.default_rng(seed)
    down, right = np.mgrid[-12:13, -30:31]
    return np.asarray((down / dice.uniform(3, 9)) ** 2 + (right / 28) ** 2 < dice.uniform(0.6, 1, (25, 61)))


def axes_ratio(mask: NDArray[np.bool_]) -> float:
    """Length of the main axis through its width: from exact fractions, rounded once at the end."""
    y, x = ([Fraction(int(number)) for number in place] for place in np.nonzero(mask))
    y, x = [v - sum(y) / len(y) for v in y], [v - sum(x) / len(x) for v in x]
    yy, xx, xy = sum(v * v for v in y), sum(v * v for v in x), sum(a * b for a, b in zip(x, y, strict=True))
    total, squared = xx + yy, (xx - yy) ** 2 + 4 * xy * xy
    spread = Fraction(float(squared)) ** Fraction(1, 2)
    return float((float(total) + spread) / (float(total) - spread)) ** 0.5


@pytest.mark.parametrize("seed", range(12))
def test_the_same_mask_elsewhere_has_the_same_word_at_the_threshold(seed: int) -> None:
    """What rounding would decide differs with where the mask lies in its window, as it does between processors."""
    mask = blob(seed)
    edge = axes_ratio(mask)
    said = []
    for down, right in ((0, 0), (1, 0), (3, 2), (7, 5), (11, 13)):
        moved = np.pad(mask, ((down, 0), (right, 0)))
        said.append([orientation(moved, edge * (1 + step * 2**-53)) for step in range(-24, 25)])
        assert orientation(moved, edge * 0.999) == "horizontal" and orientation(moved, edge * 1.001) is None
    assert said == [said[0]] * len(said)


@pytest.mark.parametrize(
    ("turn", "word"),
    [(0, "horizontal"), (1, "vertical"), (2, "horizontal"), (3, "vertical")],
)
def test_turns_and_mirrors(turn: int, word: str) -> None:
    mask = np.rot90(blob(1), turn)
    assert orientation(mask, 2.0) == orientation(mask[::-1], 2.0) == orientation(mask[:, ::-1], 2.0) == word


@pytest.mark.parametrize(("flip", "word"), [(1, "diagonal falling"), (-1, "diagonal rising")])
def test_diagonals(flip: int, word: str) -> None:
    down, right = np.mgrid[0:50, 0:50]
    assert orientation((abs(down - right) < 4)[::flip], 2.5) == word


def test_a_few_pixels_or_a_disc_have_no_axis() -> None:
    down, right = np.mgrid[-9:10, -9:10]
    assert orientation(np.ones((1, 15), bool), 2.0) is None
    assert orientation(down**2 + right**2 < 70, 1.01) is None
    assert orientation(np.ones((8, 8), bool), 1.0) is None
