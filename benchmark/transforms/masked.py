"""The region is painted over."""

from __future__ import annotations

from PIL import Image

from benchmark.records import Item, ItemQuery
from benchmark.transforms.base import APPEARANCE, GREY, Expected, Pool, padded_box
from benchmark.transforms.naming import ranked


class Masked:
    """Grey where the region was. That something was there, and where, can still be seen; what it was cannot."""

    name = "masked"

    def expected(self, item: Item, query: ItemQuery) -> Expected | None:
        """How the region looks cannot be told. Not asked is what the box itself shows (place, size, relations), and
        what another thing of the kind answers instead ("the rightmost cup").
        """
        if item.bbox is None or query.facet not in APPEARANCE or ranked(item, query):
            return None
        return "cannot"

    def apply(self, item: Item, picture: Image.Image, others: Pool) -> Image.Image:
        """The picture with a grey box."""
        changed = picture.copy()
        changed.paste(GREY, padded_box(item, picture.size))
        return changed
