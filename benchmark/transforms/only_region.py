"""Everything but the region is painted over."""

from __future__ import annotations

from PIL import Image

from benchmark.records import Item, ItemQuery
from benchmark.transforms.base import Expected, Pool, grey, padded_box

KEPT = frozenset({
    "entity", "color", "shape", "material", "size", "position", "orientation", "action", "visible_text"
})  # fmt: skip
"""Facets that the region alone decides; it stays at its place and size. Of others it cannot be told whether what they
need lies in the box too."""


class OnlyRegion:
    """The region at its place, on grey."""

    name = "only-region"

    def expected(self, item: Item, query: ItemQuery) -> Expected | None:
        """The answer, where the region decides it."""
        return "answer" if item.bbox is not None and query.facet in KEPT else None

    def apply(self, item: Item, picture: Image.Image, others: Pool) -> Image.Image:
        """Grey, with the region."""
        box = padded_box(item, picture.size)
        changed = grey(picture.size)
        changed.paste(picture.crop(box), box)
        changed.info = {name: value for name, value in picture.info.items() if name == "icc_profile"}
        return changed
