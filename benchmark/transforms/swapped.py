"""Another picture in place of the item's own."""

from __future__ import annotations

from PIL import Image

from benchmark.records import Item, ItemQuery
from benchmark.transforms.base import COUNTING, Expected, Pool


class Swapped:
    """A picture of the same set, drawn by a hash, without a thing of the same label where labels are known."""

    name = "swapped"

    def expected(self, item: Item, query: ItemQuery) -> Expected | None:
        """The region is in another picture."""
        return None if query.facet in COUNTING else "cannot"

    def apply(self, item: Item, picture: Image.Image, others: Pool) -> Image.Image:
        """The other picture."""
        return others.picture(others.other(item))
