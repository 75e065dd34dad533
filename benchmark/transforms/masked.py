"""The region is painted over."""

from __future__ import annotations

from PIL import Image

from benchmark.records import Item, ItemQuery
from benchmark.transforms.base import COUNTING, GREY, Expected, Pool, padded_box


class Masked:
    """Grey where the region was. That something was there, and where, can still be seen; what it was cannot."""

    name = "masked"

    def expected(self, item: Item, query: ItemQuery) -> Expected | None:
        """Nothing can be told of the region."""
        return None if item.bbox is None or query.facet in COUNTING else "cannot"

    def apply(self, item: Item, picture: Image.Image, others: Pool) -> Image.Image:
        """The picture with a grey box."""
        changed = picture.copy()
        changed.paste(GREY, padded_box(item, picture.size))
        return changed
