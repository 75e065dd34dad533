"""Binary masks: checked decoding, encoding, orientation.

A mask here is a boolean array [H, W] of the whole picture; the stored form is `schema.Mask` (COCO run
lengths, column-major).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from slvr_data.schema import Mask

BoolArray = NDArray[np.bool_]


def run_lengths(counts: str) -> NDArray[np.int64]:
    """The run lengths in a compressed COCO string, the first of unset pixels.

    A run is written in groups of five bits, the lowest first, each with a continuation bit; from the
    fourth run on, it is the difference to the run before the last (COCO's mask API).

    Raises:
        ValueError: the string is not one (a character outside the alphabet, a cut number, a negative run).
    """
    groups = np.frombuffer(counts.encode("utf-32-le"), dtype=np.uint32).astype(np.int64) - 48
    if not len(groups):
        return groups
    if groups.min() < 0 or groups.max() > 63:
        raise ValueError("mask counts hold a character that is not part of COCO's encoding")
    last = (groups & 0x20) == 0
    if not last[-1]:
        raise ValueError("mask counts end in the middle of a number")
    ends = np.flatnonzero(last)
    starts = np.concatenate(([0], ends[:-1] + 1))
    if (ends - starts).max() > 6:  # 35 bits, more than pixels; no sum below can run over 64
        raise ValueError("mask counts hold a number that no picture has")
    shifts = 5 * (np.arange(len(groups)) - np.repeat(starts, ends - starts + 1))
    runs = np.add.reduceat((groups & 0x1F) << shifts, starts)
    runs -= np.where(groups[ends] & 0x10, 1 << (shifts[ends] + 5), 0)
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])
    if runs.min() < 0 or runs.max() >= 1 << 32:
        raise ValueError("mask counts hold a negative run, or one that no picture has")
    return runs


def parse(segmentation: Any, width: int, height: int) -> Mask | None:
    """COCO's `segmentation` (polygons, run lengths as list or string, or nothing) as a stored mask.

    Raises:
        ValueError: it is none of these, or does not fit a picture of that size.
    """
    if segmentation is None or segmentation == []:
        return None
    if isinstance(segmentation, dict):
        return _from_run_lengths(segmentation, width, height)
    if not isinstance(segmentation, list):
        raise ValueError(f"segmentation is a {type(segmentation).__name__}: give polygons or run lengths")
    for polygon in segmentation:
        if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
            raise ValueError("a polygon needs an even number of at least 6 coordinates")
        if not _finite(polygon):
            raise ValueError("a polygon holds a coordinate that is not a finite number (NaN, text or too large)")
        reach = max(width, height)  # the rasteriser walks every pixel of an edge, however far out it lies
        if min(polygon) < -reach or max(polygon) > 2 * reach:
            raise ValueError(f"a polygon stands far out of the picture of {width}x{height}")
    encoded = coco_mask.merge(coco_mask.frPyObjects(segmentation, height, width))
    return Mask(size=[height, width], counts=encoded["counts"].decode())


def _finite(polygon: list[Any]) -> bool:
    try:
        return bool(sum(map(abs, polygon)) < 1e9)  # false for NaN too
    except (TypeError, OverflowError):
        return False


def _from_run_lengths(segmentation: dict[str, Any], width: int, height: int) -> Mask:
    size, counts = segmentation.get("size"), segmentation.get("counts")
    if size != [height, width]:
        raise ValueError(f"mask size {repr(size)[:100]} is not the picture's [height, width] = [{height}, {width}]")
    if isinstance(counts, str):
        total = int(run_lengths(counts).sum())
    elif isinstance(counts, list) and all(type(c) is int and c >= 0 for c in counts):
        total = sum(counts)
    else:
        raise ValueError("mask counts are neither a string nor a list of non-negative whole numbers")
    if total != height * width:
        raise ValueError(f"mask runs add up to {total}, the picture has {height * width} pixels")
    if isinstance(counts, str):
        return Mask(size=[height, width], counts=counts)
    encoded = coco_mask.frPyObjects({"size": [height, width], "counts": counts}, height, width)
    return Mask(size=[height, width], counts=encoded["counts"].decode())


def published(mask: dict[str, Any] | None, size: tuple[int, int]) -> Mask | None:
    """The mask in a row of a set, for a picture of `size` (width, height).

    None where there is none, or where it does not fit, as `slvr-data validate` tells: decoding would take what memory
    it names.
    """
    try:
        return None if mask is None else _from_run_lengths(mask, *size)
    except ValueError:
        return None


def decode(mask: Mask) -> BoolArray:
    """The mask as a boolean array [H, W]."""
    encoded = {"size": mask.size, "counts": mask.counts.encode()}
    return np.asarray(coco_mask.decode(encoded)).view(np.bool_)


@lru_cache(maxsize=2048)
def _run_borders(counts: str) -> NDArray[np.int64]:
    """Where runs end; the stages of a shard ask for the same masks one after the other."""
    return np.cumsum(run_lengths(counts))


def is_empty(mask: Mask) -> bool:
    """Whether no pixel is set."""
    return not coco_mask.area({"size": mask.size, "counts": mask.counts.encode()})


def window(mask: Mask, box: tuple[int, int, int, int]) -> BoolArray:
    """The part of the mask in a box [x1, y1, x2, y2) of whole pixels, without decoding the rest; [y2-y1, x2-x1]."""
    x1, y1, x2, y2 = box
    height = mask.size[0]
    borders = np.clip(_run_borders(mask.counts), x1 * height, x2 * height)
    lengths = np.diff(borders, prepend=x1 * height)
    values = np.arange(len(lengths)) % 2 == 1
    return np.repeat(values, lengths).reshape(x2 - x1, height).T[y1:y2]


def encode(pixels: BoolArray) -> Mask:
    """The stored form of a boolean array [H, W]."""
    encoded = coco_mask.encode(np.asfortranarray(pixels, dtype=np.uint8))
    return Mask(size=[int(n) for n in encoded["size"]], counts=encoded["counts"].decode())


def bounds(pixels: BoolArray) -> tuple[int, int, int, int] | None:
    """The smallest box [x1, y1, x2, y2) that holds all set pixels, or None where none is set."""
    rows, columns = np.flatnonzero(pixels.any(1)), np.flatnonzero(pixels.any(0))
    if not len(rows):
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def upright(mask: Mask, orientation: int) -> Mask:
    """The mask of a stored picture as a mask of the upright one; `orientation` is the EXIF value, 1 to 8."""
    return mask if orientation == 1 else encode(np.ascontiguousarray(_TURNS[orientation](decode(mask))))


_TURNS = {
    2: lambda m: m[:, ::-1],
    3: lambda m: m[::-1, ::-1],
    4: lambda m: m[::-1],
    5: lambda m: m.T,
    6: lambda m: np.rot90(m, -1),
    7: lambda m: m[::-1, ::-1].T,
    8: lambda m: np.rot90(m, 1),
}


def upright_box(box: Sequence[float], orientation: int, width: float, height: float) -> list[float]:
    """A box of a stored picture of that size as a box of the upright picture.

    `width` and `height` are those of the stored picture; `orientation` is the EXIF value, 1 to 8.
    """
    x1, y1, x2, y2 = box
    if orientation in (2, 3, 7, 8):
        x1, x2 = width - x2, width - x1
    if orientation in (3, 4, 6, 7):
        y1, y2 = height - y2, height - y1
    if orientation >= 5:
        x1, y1, x2, y2 = y1, x1, y2, x2
    return [x1, y1, x2, y2]


def outline(pixels: BoolArray, spacing: int = 4) -> list[list[tuple[float, float]]]:
    """The rings around the set pixels of a mask [H, W], as points (x, y); for showing, not for measuring.

    The pixel borders are followed with the set side on the left; of their midpoints about every
    `spacing`-th is kept.
    """
    framed = np.pad(pixels, 1)
    steps: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for edge, start, move in (
        (framed[1:-1, 1:-1] & ~framed[:-2, 1:-1], (1, 0), (-1, 0)),
        (framed[1:-1, 1:-1] & ~framed[1:-1, :-2], (0, 0), (0, 1)),
        (framed[1:-1, 1:-1] & ~framed[2:, 1:-1], (0, 1), (1, 0)),
        (framed[1:-1, 1:-1] & ~framed[1:-1, 2:], (1, 1), (0, -1)),
    ):
        for y, x in np.argwhere(edge).tolist():
            begin = (x + start[0], y + start[1])
            steps.setdefault(begin, []).append((begin[0] + move[0], begin[1] + move[1]))
    rings = []
    while steps:
        ring, here = [], next(iter(steps))
        while here in steps:
            there = steps[here].pop()
            if not steps[here]:
                del steps[here]
            ring.append(((here[0] + there[0]) / 2, (here[1] + there[1]) / 2))
            here = there
        rings.append(ring[::spacing] if len(ring) > 4 * spacing else ring)
    return rings
