"""Which queries of a set's groups are asked, and with which choices; why the others are not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from benchmark.balance import Candidate, balanced, evened
from benchmark.groups import Group
from benchmark.models.blind import Text
from benchmark.records import Item
from slvr_data.schema import Query

REASONS = {
    "one-answer": "every query of its template has the same answer",
    "no-partner": "its answer is too frequent for its template",
    "facet-full": "its facet has more queries than others",
    "template-refused": "its template can be answered without the picture",
    "item-too-small": "fewer than two queries of its region are left",
}
"""Why a query is left out."""


@dataclass(frozen=True)
class Drawn:
    """The queries of some groups that are asked."""

    groups: Sequence[Group]
    choices: Mapping[str, tuple[str, ...]]
    """query_id -> choices in the order shown; queries without choices are not in here."""
    dropped: Mapping[str, str]
    """query_id -> reason, one of `REASONS`."""

    def texts(self) -> Iterator[tuple[Query, str, Text]]:
        """Each asked query with choices: itself, its template, and what a text-only answerer sees of it."""
        for group in self.groups:
            for query, form in zip(group.group.queries, group.forms, strict=True):
                shown = self.choices.get(query.query_id)
                if shown:
                    text = Text(query.question, shown, shown.index(query.answer), group.group.image_id)
                    yield query, form.template, text

    def items(self) -> list[Item]:
        """The items, in the order of the groups; no item has fewer than two queries."""
        found = []
        for group in self.groups:
            asked = [query for query in group.group.queries if not query.choices or query.query_id in self.choices]
            if len(asked) >= 2:
                found.append(group.item({q.query_id: self.choices[q.query_id] for q in asked if q.choices}))
        return found


def draw(groups: Sequence[Group], seed: int, refused: frozenset[tuple[str, str]] = frozenset()) -> Drawn:
    """The queries that are asked: balanced, and none of a template (facet, template) that is refused."""
    candidates: list[Candidate] = []
    dropped: dict[str, str] = {}
    for candidate in (candidate for group in groups for candidate in group.candidates()):
        if (candidate.facet, candidate.template) in refused:
            dropped[candidate.query_id] = "template-refused"
        else:
            candidates.append(candidate)
    unchosen = {group.group.group_id: number for group in groups if (number := group.open_queries())}
    found = balanced(candidates, unchosen, seed)
    item_of = {candidate.query_id: candidate.item_id for candidate in candidates}
    kept, full = evened(found.blocks, item_of, unchosen, seed)
    dropped |= found.dropped | {query_id: "facet-full" for block in full for query_id in block.choices}
    choices = {query_id: shown for block in kept for query_id, shown in block.choices.items()}
    return Drawn(groups, choices, dropped | _alone(groups, choices))


def _alone(groups: Sequence[Group], choices: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """Open queries that nothing is left beside."""
    alone: dict[str, str] = {}
    for group in groups:
        asked = [query for query in group.group.queries if not query.choices or query.query_id in choices]
        if len(asked) < 2:
            alone |= {query.query_id: "item-too-small" for query in asked}
    return alone
