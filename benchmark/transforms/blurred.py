"""The region is blurred until only its mean colours are left."""

from __future__ import annotations

from PIL import Image, ImageFilter

from benchmark.records import Item, ItemQuery
from benchmark.transforms.base import Expected, Pool, padded_box

LOST = frozenset({"entity", "shape", "material", "orientation", "action", "visible_text"})
"""Facets of which a blur of this strength leaves nothing; colour, place and size shine through."""
STRENGTH = 0.5
"""Standard deviation of the blur, as a share of the box's shorter side."""


class Blurred:
    """A Gaussian blur inside of the box; only facets that need detail are asked."""

    name = "blurred"

    def expected(self, item: Item, query: ItemQuery) -> Expected | None:
        """Detail is gone."""
        return "cannot" if item.bbox is not None and query.facet in LOST else None

    def apply(self, item: Item, picture: Image.Image, others: Pool) -> Image.Image:
        """The picture with its region blurred."""
        box = padded_box(item, picture.size)
        part = picture.crop(box)
        changed = picture.copy()
        changed.paste(part.filter(ImageFilter.GaussianBlur(STRENGTH * min(part.size))), box)
        return changed
