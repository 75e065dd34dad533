"""The picture is cut so that the region lies outside."""

from __future__ import annotations

from PIL import Image

from benchmark.records import Item, ItemQuery
from benchmark.transforms.base import COUNTING, Box, Expected, Pool, facet_in, padded_box
from benchmark.transforms.naming import placed, ranked, unnamed

LEAST_SHARE = 0.125
"""A part of the picture smaller than this share shows too little to be asked about."""
LEAST_SIDE = 16
"""The same for its shorter side, in pixels."""


class CroppedOut:
    """The largest of the four parts beside the region."""

    name = "cropped-out"

    def expected(self, item: Item, query: ItemQuery) -> Expected | None:
        """The region is not in the picture. Not asked where it fills nearly all of it, or where something else in
        what is left may fit the question's words: by rank, by place, or because they do not name the thing.
        """
        if item.bbox is None or facet_in(query) in COUNTING:
            return None
        if ranked(item, query) or placed(item, query) or unnamed(item, query):
            return None
        x1, y1, x2, y2 = beside(padded_box(item, (item.width, item.height)), (item.width, item.height))
        width, height = x2 - x1, y2 - y1
        enough = width * height >= LEAST_SHARE * item.width * item.height and min(width, height) >= LEAST_SIDE
        return "cannot" if enough else None

    def apply(self, item: Item, picture: Image.Image, others: Pool) -> Image.Image:
        """That part."""
        return picture.crop(beside(padded_box(item, picture.size), picture.size))


def beside(box: Box, size: tuple[int, int]) -> Box:
    """The largest part of a picture of `size` that lies left of, above, right of or below a box."""
    (x1, y1, x2, y2), (width, height) = box, size
    parts = [(0, 0, x1, height), (0, 0, width, y1), (x2, 0, width, height), (0, y2, width, height)]
    return max(parts, key=lambda part: (part[2] - part[0]) * (part[3] - part[1]))
