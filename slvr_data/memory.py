"""Whether memory is short, or something has only asked for too much of it."""

from __future__ import annotations

import numpy as np


def is_short_of(size: int) -> bool:
    """Whether this process cannot have `size` bytes now; they are asked for and given back untouched."""
    try:
        np.empty(size, np.uint8)
    except MemoryError:
        return True
    return False
