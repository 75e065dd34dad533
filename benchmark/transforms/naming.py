"""What the words of a question say of its thing: whether another one may answer to them once the thing is gone."""

from __future__ import annotations

import re

from benchmark.records import Item, ItemQuery
from benchmark.transforms.base import facet_in

_NO_RANK = (
    "rest|forest|chest|nest|guest|west|midwest|test|contest|vest|crest|quest|request|interest|harvest|priest|pest"
)
_RANK = re.compile(
    rf"\b(?!(?:{_NO_RANK})\b)[a-z]{{2,}}est\b"
    r"|\b(?:left|right|top|bottom|upper|lower|front|rear|inner|outer|fore|hind)-?most\b|\b(?:most|least|last|next)\b"
    r"|\b(?:first|second|third|fourth|fifth|sixth|seventh|eighth|ninth|tenth|\d+(?:st|nd|rd|th))\b"
)
"""A superlative or an ordinal. Nouns in -est that are not in the list cost asks, and no wrong outcome."""
_PLACE = re.compile(
    r"\b(?:at|in|on|to|does|towards?)\s+the\s+(?:very\s+|far\s+)?"
    r"(?:top|bottom|upper|lower|left|right|cent(?:er|re)|middle|front|back|foreground|background|corner)\b"
)
"""A place of the picture: "at the top left", "on the right"."""


def ranked(item: Item, query: ItemQuery) -> bool:
    """Whether the question singles its thing out by rank ("the rightmost cup", "the second sign from the left").

    Such words mean that the picture shows several of its kind, so another one has that rank when it is gone. False
    where the item's own count says that there is but one.
    """
    return _RANK.search(query.question.casefold()) is not None and not alone(item)


def placed(item: Item, query: ItemQuery) -> bool:
    """Whether the question singles its thing out by its place, which something else has in a part of the picture."""
    return _PLACE.search(query.question.casefold()) is not None and not (alone(item) and named(item, query))


def unnamed(item: Item, query: ItemQuery) -> bool:
    """Whether the question does not say what its thing is, so that any picture may show something that fits:
    "Which of these is at the top left?", and whatever else asks for an entity without its label.
    """
    nowhere = _PLACE.search(query.question.casefold()) is None and facet_in(query) != "entity"
    return not nowhere and not named(item, query)


def named(item: Item, query: ItemQuery) -> bool:
    """Whether the question has the region's label in it; False where no label is known."""
    return bool(item.label) and (item.label or "").casefold() in query.question.casefold()


def alone(item: Item) -> bool:
    """Whether a count among the item's own queries says that the picture shows one thing of the label."""
    return any(
        query.facet == "count" and query.answer.casefold() in ("1", "one") and named(item, query)
        for query in item.queries
    )
