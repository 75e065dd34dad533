"""A grey picture of the same size."""

from __future__ import annotations

from PIL import Image

from benchmark.records import Item, ItemQuery
from benchmark.transforms.base import COUNTING, Expected, Pool, facet_in, grey


class Blank:
    """Nothing to see at all."""

    name = "blank"

    def expected(self, item: Item, query: ItemQuery) -> Expected | None:
        """Nothing can be told."""
        return None if facet_in(query) in COUNTING else "cannot"

    def apply(self, item: Item, picture: Image.Image, others: Pool) -> Image.Image:
        """Grey."""
        return grey(picture.size)
