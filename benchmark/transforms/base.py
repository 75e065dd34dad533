"""What a transform is, and what all of them share: the padded box, the grey, other pictures, lossless files."""

from __future__ import annotations

import hashlib
import io
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Literal, Protocol

from PIL import Image

from benchmark.records import CANNOT_SEE, Item, ItemQuery

__all__ = ["APPEARANCE", "CANNOT_SEE", "GREY", "Box", "Expected", "Pool", "Transform", "encoded", "grey", "padded_box"]

Box = tuple[int, int, int, int]
"""[x1, y1, x2, y2) in pixels."""
Expected = Literal["answer", "cannot"]
"""What is right after a transform: the query's answer, or `CANNOT_SEE`."""
GREY = (127, 127, 127)
"""What takes the place of removed pixels."""
PAD_SHARE, PAD_LEAST = 0.08, 3
"""A box is widened by this share of its longer side, and by so many pixels at least: boxes of data sets cut edges."""
COUNTING = frozenset({"count"})
"""Facets that a picture without the thing answers too ("none"): they are asked on the intact picture alone."""
APPEARANCE = frozenset({"entity", "color", "shape", "material", "orientation", "action", "visible_text"})
"""Facets of how a thing looks: a grey box in its place tells none of them, but where it was, how large, and beside
what."""


class Transform(Protocol):
    """One way to change the picture of an item."""

    name: str
    """The variant's name."""

    def expected(self, item: Item, query: ItemQuery) -> Expected | None:
        """What is right afterwards; None: that cannot be told, or there is nothing to change, and it is not asked."""
        ...

    def apply(self, item: Item, picture: Image.Image, others: Pool) -> Image.Image:
        """The changed picture. `picture` is upright, mode RGB, and left as it is; `others` holds all pictures."""
        ...


class Pool:
    """The pictures of a benchmark, for transforms that take another one."""

    def __init__(self, items: Iterable[Item], picture: Callable[[str], Image.Image]) -> None:
        """`picture`: image_id -> upright picture, mode RGB."""
        self._labels: dict[str, set[str]] = defaultdict(set)
        for item in items:
            self._labels[item.image_id] |= {item.label.casefold()} if item.label else set()
        self._ids = sorted(self._labels)
        self.picture = picture

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self._ids)

    def other(self, item: Item) -> str:
        """Another picture's id, drawn by a hash of the item's id.

        It shows no thing of the item's label, as far as the labels of all items tell; where every other picture does,
        any other is taken. There have to be two pictures at least.
        """
        digest = hashlib.sha256(item.item_id.encode()).digest()
        start = int.from_bytes(digest[:8], "big") % len(self._ids)
        order = [image_id for image_id in (*self._ids[start:], *self._ids[:start]) if image_id != item.image_id]
        label = (item.label or "").casefold()
        return next((image_id for image_id in order if label not in self._labels[image_id]), order[0])


def padded_box(item: Item, size: tuple[int, int]) -> Box:
    """The item's box, widened and cut to a picture of `size` (width, height). The item has a box."""
    assert item.bbox is not None
    x1, y1, x2, y2 = item.bbox
    pad = max(PAD_LEAST, PAD_SHARE * max(x2 - x1, y2 - y1))
    left, top = max(0, int(x1 - pad)), max(0, int(y1 - pad))
    right, bottom = min(size[0], -int(-(x2 + pad) // 1)), min(size[1], -int(-(y2 + pad) // 1))
    return min(left, size[0] - 1), min(top, size[1] - 1), max(right, left + 1), max(bottom, top + 1)


def grey(size: tuple[int, int]) -> Image.Image:
    """A picture of nothing."""
    return Image.new("RGB", size, GREY)


def encoded(picture: Image.Image) -> bytes:
    """A PNG of a picture in mode RGB, lossless; a colour profile stays with it."""
    out = io.BytesIO()
    picture.save(out, "PNG", compress_level=1, icc_profile=picture.info.get("icc_profile"))
    return out.getvalue()
