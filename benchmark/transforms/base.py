"""What a transform is, and what all of them share: the padded box, the grey, other pictures, lossless files."""

from __future__ import annotations

import hashlib
import io
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from typing import Literal, Protocol

from PIL import Image

from benchmark.records import CANNOT_SEE, Item, ItemQuery
from slvr_data.queries.english import plural
from slvr_data.queries.originals import facet_of
from slvr_data.schema import FACETS

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


def facet_in(query: ItemQuery) -> str:
    """The facet that a query is on; where its file has classes of its own in that place, by the question's words."""
    known = query.facet in FACETS or query.facet == "other"
    return query.facet if known else facet_of(query.question) or "other"


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
        self._items = list(items)
        self._ids = sorted({item.image_id for item in self._items})
        self.picture = picture

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self._ids)

    def has_other(self, item: Item) -> bool:
        """Whether there is another picture that shows no thing of the item's label, as far as the items tell.

        They tell by their labels, and by the words of their questions and right answers ("the mug left of the plate"
        shows a plate). An item without a label says nothing of what must not be there: any other picture will do.
        """
        return len(self._ids) > len(self._showing.get(_words(item.label), set()) | {item.image_id})

    def other(self, item: Item) -> str:
        """Another picture's id, drawn by a hash of the item's id. There have to be two pictures at least.

        It shows no thing of the item's label (see `has_other`; where there is no such picture, it is any other), and
        among those it is one of which no question has the same answer as one of the item's, where there is one.
        """
        showing = self._showing.get(_words(item.label), set()) if self.has_other(item) else set()
        same = [self._saying.get((query.facet, query.answer.casefold()), set()) for query in item.queries]
        first = None
        for image_id in self._in_turn(item):
            if image_id in showing:
                continue
            if not any(image_id in ids for ids in same):
                return image_id
            first = first or image_id
        assert first is not None, "there are no two pictures"
        return first

    @cached_property
    def _showing(self) -> dict[tuple[str, ...], set[str]]:
        return _showing(self._items)

    @cached_property
    def _saying(self) -> dict[tuple[str, str], set[str]]:
        """Facet and answer -> the pictures of which some query has it."""
        found: dict[tuple[str, str], set[str]] = defaultdict(set)
        for item in self._items:
            for query in item.queries:
                found[query.facet, query.answer.casefold()].add(item.image_id)
        return found

    def _in_turn(self, item: Item) -> Iterator[str]:
        """All other pictures, from a place that follows from the item's id."""
        digest = hashlib.sha256(item.item_id.encode()).digest()
        start = int.from_bytes(digest[:8], "big") % len(self._ids)
        for step in range(len(self._ids)):
            image_id = self._ids[(start + step) % len(self._ids)]
            if image_id != item.image_id:
                yield image_id


def _words(text: str | None) -> tuple[str, ...]:
    return tuple(re.findall(r"[^\W_]+", (text or "").casefold()))


def _showing(items: Sequence[Item]) -> dict[tuple[str, ...], set[str]]:
    """Words of a label -> the pictures of which some item's label, question or right answer has them, or the plural."""
    labels = {_words(item.label): item.label or "" for item in items if _words(item.label)}
    named: dict[tuple[str, ...], set[tuple[str, ...]]] = defaultdict(set)
    for words, label in labels.items():
        named[words].add(words)
        named[_words(plural(label))].add(words)
    lengths = sorted({len(words) for words in named})
    found: dict[tuple[str, ...], set[str]] = {words: set() for words in labels}
    for item in items:
        texts = [item.label or "", *(text for query in item.queries for text in (query.question, query.answer))]
        for words in map(_words, texts):
            runs = (words[place : place + length] for length in lengths for place in range(len(words) - length + 1))
            for label_words in (one for run in runs for one in named.get(run, ())):
                found[label_words].add(item.image_id)
    return found


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
