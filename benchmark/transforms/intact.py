"""The picture as it is: what the other transforms are held against."""

from __future__ import annotations

from PIL import Image

from benchmark.records import Item, ItemQuery
from benchmark.transforms.base import Expected, Pool


class Intact:
    """Nothing is changed; every answer stays."""

    name = "intact"

    def expected(self, item: Item, query: ItemQuery) -> Expected | None:
        """The answer."""
        return "answer"

    def apply(self, item: Item, picture: Image.Image, others: Pool) -> Image.Image:
        """The same pixels."""
        return picture
