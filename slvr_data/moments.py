"""How the pixels of a mask are spread, in whole numbers: what is decided from them is the same on every machine."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_MOST_PIXELS = 4096


def second_moments(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """(number of set pixels n, central moments xx, yy and xy, each times n squared; y is upward), all exact.

    Of a mask with more than 4096 pixels, about so many on a grid are looked at. Where it lies in its window is all one.
    """
    step = max(1, int((mask.size / _MOST_PIXELS) ** 0.5))
    pixels = mask[::step, ::step]
    rows, columns = pixels.sum(1, dtype=np.int64), pixels.sum(0, dtype=np.int64)
    down, right = np.arange(len(rows)), np.arange(len(columns))
    count, y, x = (int(total) for total in (rows.sum(), (rows * down).sum(), (columns * right).sum()))
    y2, x2 = int((rows * down**2).sum()), int((columns * right**2).sum())
    both = int(((pixels * right).sum(1) * down).sum())
    return count, count * x2 - x * x, count * y2 - y * y, x * y - count * both
