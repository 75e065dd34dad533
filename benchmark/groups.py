"""Published groups of questions as the builder takes them: with regions, sizes of pictures and forms of questions."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.balance import EXCLUSIVE, TEXT, Candidate
from benchmark.records import Item, ItemQuery
from benchmark.templates import Form, form_of
from slvr_data.errors import UsageError
from slvr_data.manifest import Manifest
from slvr_data.reader import rows_of
from slvr_data.schema import Query, QueryGroup

_REGION = ("region_id", "image_id", "bbox", "label", "references")
_WRITERS = frozenset({"templates"})
"""Writers of questions whose values mean the same in every picture, so that wrong choices may be swapped."""


@dataclass(frozen=True)
class Group:
    """A group with what surrounds it."""

    group: QueryGroup
    region: dict[str, Any]
    width: int
    height: int
    forms: Sequence[Form]
    """Of its queries."""

    def candidates(self) -> Iterator[Candidate]:
        """Its queries with choices, ready to be balanced."""
        swappable = self.group.provenance.annotator in _WRITERS
        for query, form in zip(self.group.queries, self.forms, strict=True):
            if query.choices:
                text = query.facet == TEXT
                yield Candidate(
                    query_id=query.query_id,
                    item_id=self.group.group_id,
                    facet=query.facet,
                    template=form.template,
                    kinds=(f"{len(query.answer)} characters", "") if text else (form.own, form.nouns, ""),
                    answer=query.answer,
                    wrong=tuple(choice for choice in query.choices if choice != query.answer),
                    exclusive=swappable and query.origin == "generated" and query.facet in EXCLUSIVE,
                )

    def open_queries(self) -> int:
        """How many of its queries have no choices."""
        return sum(not query.choices for query in self.group.queries)

    def item(self, choices: dict[str, tuple[str, ...]]) -> Item:
        """The item of its open queries and of those with new `choices` (query_id -> in the order shown)."""
        queries = [
            _query(query, form.template, choices.get(query.query_id, ()))
            for query, form in zip(self.group.queries, self.forms, strict=True)
            if query.query_id in choices or not query.choices
        ]
        x1, y1, x2, y2 = self.region["bbox"]
        return Item(
            item_id=self.group.group_id,
            image_id=self.group.image_id,
            region_id=self.group.region_id,
            bbox=(x1, y1, x2, y2),
            label=self.region["label"],
            width=self.width,
            height=self.height,
            queries=tuple(queries),
        )


def _query(query: Query, template: str, choices: tuple[str, ...]) -> ItemQuery:
    return ItemQuery(
        query_id=query.query_id,
        facet=query.facet,
        template=template,
        question=query.question,
        answer=query.answer,
        choices=choices,
        answer_index=choices.index(query.answer) if choices else None,
        chance=1 / len(choices) if choices else None,
        paraphrases=tuple(query.paraphrases),
        evidence=tuple(query.evidence),
    )


def groups_of(folder: Path, manifest: Manifest, split: str, share: float = 1.0) -> Iterator[Group]:
    """The groups of a split in picture order; of all pictures, or of a `share` of them, drawn by hash.

    Raises:
        UsageError: the set's tables do not fit together.
    """
    regions = _by_picture(rows_of(folder, manifest, "attributes", split, _REGION))
    groups = _by_picture(rows_of(folder, manifest, "multiquery", split))
    sizes = _by_picture(rows_of(folder, manifest, "images", split, ("image_id", "width", "height")))
    asked = next(groups, None)
    told = next(regions, None)
    for image_id, [size] in sizes:
        if told is None or told[0] != image_id:
            raise UsageError(f"{folder}: picture {image_id} has no regions: slvr-data validate {folder} says more")
        own = told[1]
        told = next(regions, None)
        if asked is None or asked[0] != image_id:
            continue
        rows = asked[1]
        asked = next(groups, None)
        if _share(image_id) < share:
            yield from _groups(own, rows, size)
    if asked is not None:
        raise UsageError(f"{folder} has questions about {asked[0]}, no picture of it: run slvr-data validate {folder}")


def _groups(regions: list[dict[str, Any]], rows: list[dict[str, Any]], size: dict[str, Any]) -> Iterator[Group]:
    by_id = {region["region_id"]: region for region in regions}
    labels = {region["label"].casefold() for region in regions if region["label"]}
    for row in rows:
        group = QueryGroup.model_validate(row)
        region = by_id.get(group.region_id)
        if region is None:
            raise UsageError(f"group {group.group_id} asks about region {group.region_id}, which is not published")
        phrases = [group.reference, *region["references"]] if group.provenance.annotator not in _WRITERS else []
        forms = [form_of(query.question, labels, [phrase for phrase in phrases if phrase]) for query in group.queries]
        yield Group(group, region, size["width"], size["height"], forms)


def _by_picture(rows: Iterator[dict[str, Any]]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Rows of a table in picture order, picture by picture."""
    own: list[dict[str, Any]] = []
    for row in rows:
        if own and own[0]["image_id"] != row["image_id"]:
            yield own[0]["image_id"], own
            own = []
        own.append(row)
    if own:
        yield own[0]["image_id"], own


def _share(image_id: str) -> float:
    return int(hashlib.sha256(f"taken:{image_id}".encode()).hexdigest()[:13], 16) / 16**13
