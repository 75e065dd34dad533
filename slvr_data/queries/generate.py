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
from slvr_data.schema import Provenance, Query, QueryGroup, QuestionAnswer, Verdict

MOST = 4
LEAST = 2
VERSION = "templates-2"
"""Of the wordings: it is part of provenance."""


@dataclass
class WrittenGroup:
    """A group as written, and what was turned away on the way."""

    group: QueryGroup
    refused: list[tuple[str, str, str]] = field(default_factory=list)
    """Questions that did not become queries: (question, reason, evidence)."""
    failed: dict[str, Verdict] = field(default_factory=dict)
    """Queries that a check by a model has failed, by query_id."""


def write_groups(picture: PictureView, region: RegionView) -> list[WrittenGroup]:
    """One group for each original question of the region, or one of generated questions alone.

    Original questions on one facet thereby stand in separate groups. Which facets are generated, and in which
    order, is seeded by the region's id.
    """
    drafts = {facet: draft for facet in WRITERS if (draft := WRITERS[facet](picture, region)) is not None}
    order = spread(drafts, region.row.region_id)
    groups = begun_groups(picture, region, Provenance(annotator="templates", revision=VERSION))
    for written in groups:
        queries = written.group.queries
        for draft in (drafts[facet] for facet in order):
            if len(queries) < MOST and draft.facet not in {query.facet for query in queries}:
                queries.append(generated(written.group.group_id, draft))
    return groups


def begun_groups(picture: PictureView, region: RegionView, provenance: Provenance) -> list[WrittenGroup]:
    """A group for each original question of the region, which stands in it first, or one that is empty."""
    originals: list[QuestionAnswer | None] = list(region.row.original_questions) or [None]
    return [_begun(picture, region, original, provenance) for original in originals]


def _begun(
    picture: PictureView, region: RegionView, original: QuestionAnswer | None, provenance: Provenance
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
            provenance=provenance,
        )
    )
    if original is not None:
        facet = facet_of(original.question)
        if facet is None:
            reason = ("facet-unrecognised", "no rule knows the facet of this question")
            written.refused.append((original.question, *reason))
        else:
            written.group.queries.append(_original(group_id, facet, original))
    return written


def generated(group_id: str, draft: Draft) -> Query:
    """A draft as a query of a group, its choices in seeded order."""
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
