"""Whose latents are put in the place of a query's own: a query about another picture, or another region."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, NamedTuple, TypeVar

from benchmark.records import Item, ItemQuery

Where = Literal["picture", "region"]
_Any = TypeVar("_Any")


class Donor(NamedTuple):
    """A query whose latents another query is given."""

    item: Item
    query: ItemQuery

    def answer_to(self, query: ItemQuery) -> str | None:
        """The donor's right answer, where it would answer `query` too: of one facet, and one of its choices.

        None where it cannot be told whether a reply follows the donor: the answers would mean different things, or
        are the same.
        """
        own = self.query.answer
        if self.query.facet != query.facet or own == query.answer:
            return None
        if query.choices:
            return own if own in query.choices else None
        return own if self.query.template == query.template else None


class Donors:
    """Draws donors from the queries of a benchmark, by hash: the same folder gives the same ones, whatever the limit.

    Preferred are queries of the same form, then of the same facet, whose right answer is another one of the choices
    that are shown: so a reply can be seen to follow the donor. Any other query is taken where there is none.
    """

    def __init__(self, items: Iterable[Item]) -> None:
        self._of_answer: dict[tuple[str, ...], list[Donor]] = defaultdict(list)
        self._of_facet: dict[str, list[Donor]] = defaultdict(list)
        self._of_picture: dict[str, list[Donor]] = defaultdict(list)
        self._all: list[Donor] = []
        for item in items:
            for query in item.queries:
                donor = Donor(item, query)
                self._of_answer[query.facet, query.template, query.answer].append(donor)
                self._of_answer[query.facet, query.answer].append(donor)
                self._of_facet[query.facet].append(donor)
                self._of_picture[item.image_id].append(donor)
                self._all.append(donor)

    def of(self, item: Item, query: ItemQuery, where: Where) -> Donor | None:
        """The donor of a query; None where there is no other picture, or no other region of the picture."""
        start = int.from_bytes(hashlib.sha256(f"{where} {item.item_id} {query.query_id}".encode()).digest()[:8], "big")
        pools = self._pools(item, query, start) if where == "picture" else self._beside(item, query)
        for pool in pools:
            for donor in _rotated(pool, start):
                other = (
                    donor.item.image_id != item.image_id
                    if where == "picture"
                    else donor.item.region_id != item.region_id
                )
                if other:
                    return donor
        return None

    def _pools(self, item: Item, query: ItemQuery, start: int) -> Iterator[Sequence[Donor]]:
        """Queries of all pictures, the best first; those of the query's own picture are among them."""
        choices = [choice for choice in query.choices if choice != query.answer]
        for choice in _rotated(choices, start):
            yield self._of_answer.get((query.facet, query.template, choice), ())
        for choice in _rotated(choices, start):
            yield self._of_answer.get((query.facet, choice), ())
        yield self._of_facet[query.facet]
        yield self._all

    def _beside(self, item: Item, query: ItemQuery) -> Iterator[Sequence[Donor]]:
        """Queries of the same picture, the best first; those of the query's own region are among them."""
        own = self._of_picture[item.image_id]
        told = [donor for donor in own if donor.answer_to(query) is not None]
        yield [donor for donor in told if donor.query.template == query.template]
        yield told
        yield [donor for donor in own if donor.query.facet == query.facet]
        yield own


def _rotated(values: Sequence[_Any], start: int) -> Iterator[_Any]:
    for place in range(len(values)):
        yield values[(start + place) % len(values)]
