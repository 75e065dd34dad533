"""Query groups for a region: the source's question first where there is one, then generated ones on other facets."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from slvr_data.ids import ID_LENGTH
from slvr_data.queries.distractors import spread
from slvr_data.queries.facets import WRITERS, Draft
from slvr_data.queries.originals import facet_of, yes_no
from slvr_data.queries.references import all_references
from slvr_data.queries.view import PictureView, RegionView
from slvr_data.schema import Provenance, Query, QueryGroup, QuestionAnswer

MOST = 4
LEAST = 2
VERSION = "templates-2"
"""Of the wordings: it is part of provenance."""


@dataclass
class WrittenGroup:
    """A group as written, and original questions refused on the way: (question, reason, evidence)."""

    group: QueryGroup
    refused: list[tuple[str, str, str]] = field(default_factory=list)


def write_groups(picture: PictureView, region: RegionView) -> list[WrittenGroup]:
    """One group for each original question of the region, or one of generated questions alone.

    Original questions on one facet thereby stand in separate groups. Which facets are generated, and in which
    order, is seeded by the region's id.
    """
    drafts = {facet: draft for facet in WRITERS if (draft := WRITERS[facet](picture, region)) is not None}
    order = spread(drafts, region.row.region_id)
    originals: list[QuestionAnswer | None] = list(region.row.original_questions) or [None]
    return [_group(picture, region, original, [drafts[facet] for facet in order]) for original in originals]


def _group(
    picture: PictureView, region: RegionView, original: QuestionAnswer | None, drafts: list[Draft]
) -> WrittenGroup:
    identity = f"{region.row.region_id}\n{original.question if original else ''}\n{original.answer if original else ''}"
    group_id = _hash(identity)
    first = next(iter(all_references(picture, region)), None)
    written = WrittenGroup(
        QueryGroup(
            group_id=group_id,
            region_id=region.row.region_id,
            image_id=region.row.image_id,
            reference=first.phrase if first else None,
            queries=[],
            provenance=Provenance(annotator="templates", revision=VERSION),
        )
    )
    queries = written.group.queries
    if original is not None:
        facet = facet_of(original.question)
        if facet is None:
            reason = ("facet-unrecognised", "no rule knows the facet of this question")
            written.refused.append((original.question, *reason))
        else:
            queries.append(_original(group_id, facet, original))
    for draft in drafts:
        if len(queries) < MOST and draft.facet not in {query.facet for query in queries}:
            queries.append(_generated(group_id, draft))
    return written


def _generated(group_id: str, draft: Draft) -> Query:
    identifier = _hash(f"{group_id}\n{draft.facet}\n{draft.wordings[0]}")
    choices = spread([draft.answer, *draft.wrong], identifier)
    return Query(
        query_id=identifier,
        facet=draft.facet,
        question=draft.wordings[0],
        answer=draft.answer,
        choices=choices,
        answer_index=choices.index(draft.answer),
        chance=1 / len(choices),
        paraphrases=list(draft.wordings[1:]),
        evidence=list(draft.evidence),
        origin="generated",
    )


def _original(group_id: str, facet: str, original: QuestionAnswer) -> Query:
    """The source's question as it stands: yes/no with its two choices, anything else open."""
    identifier = _hash(f"{group_id}\n{facet}\n{original.question}")
    truth = yes_no(original.answer)
    choices = spread(["yes", "no"], identifier) if truth is not None else []
    answer = original.answer.strip() if truth is None else "yes" if truth else "no"
    return Query(
        query_id=identifier,
        facet=facet,
        question=" ".join(original.question.split()),
        answer=answer,
        choices=choices,
        answer_index=choices.index(answer) if choices else None,
        chance=1 / len(choices) if choices else None,
        paraphrases=[],
        evidence=[],
        origin="source",
    )


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:ID_LENGTH]
