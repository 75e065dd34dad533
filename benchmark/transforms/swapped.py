"""Another picture in place of the item's own."""

from __future__ import annotations

from PIL import Image

from benchmark.records import Item, ItemQuery
from benchmark.transforms.base import COUNTING, Expected, Pool, facet_in
from benchmark.transforms.naming import unnamed


class Swapped:
    """A picture of the same set, drawn by a hash, without a thing of the same label where labels are known.

    Where every other picture shows one, the question is not asked, and counted among those (`Pool.has_other`).
    """

    name = "swapped"

    def expected(self, item: Item, query: ItemQuery) -> Expected | None:
        """The region is in another picture. Not asked where the question does not name its thing: this picture too
        has something "at the top left".
        """
        return None if facet_in(query) in COUNTING or unnamed(item, query) else "cannot"

    def apply(self, item: Item, picture: Image.Image, others: Pool) -> Image.Image:
        """The other picture."""
        return others.picture(others.other(item))
