"""The stage `multiquery`: questions about each published region, and what the local checks say of them.

Its input are published attribute rows, a picture at a time. Tables: `groups` (a row per group with all its
queries), `refused` (queries that were not written or did not pass, with the reason) and `pictures` (which
state of each picture the groups are of).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from slvr_data.checks.queries import QUERY_CHECKS, CheckedGroup
from slvr_data.queries.generate import VERSION, WrittenGroup, write_groups
from slvr_data.queries.view import PictureView, RegionView
from slvr_data.schema import AttributeRow, Query

if TYPE_CHECKING:
    from pipelines.plan import PlannedPicture

GROUPS = pa.schema([(n, pa.string()) for n in ("picture_key", "region_id", "group_id", "group")])
REFUSED = pa.schema(
    [
        (n, pa.string())
        for n in ("picture_key", "region_id", "group_id", "query_id", "facet", "check", "reason", "evidence", "record")
    ]
)
PICTURES = pa.schema([("picture_key", pa.string())])


@dataclass(frozen=True)
class QueryPicture:
    """A published picture as this stage sees it; `regions` are attribute rows."""

    key: str
    image_id: str
    width: int
    height: int
    complete: bool
    """Everything in the picture is a published region."""
    regions: list[dict[str, Any]]
    planned: PlannedPicture | None = None
    """Where its file is and which shards hold its crops; given where a model is asked, which sees the picture."""
    crop_shards: tuple[str, ...] = ()


@dataclass(frozen=True)
class QueryTask:
    """One shard."""

    pictures: list[QueryPicture]

    @property
    def name(self) -> str:
        """A hash of what goes in."""
        return hashlib.sha256("".join(picture.key for picture in self.pictures).encode()).hexdigest()[:16]


_PART_OF_KEY = ("region_id", "bbox", "label", "iscrowd", "references", "original_questions", "profile")


def picture_key(image: dict[str, Any], regions: list[dict[str, Any]], writer: str = VERSION) -> str:
    """Changes when anything that questions may depend on changes: the picture's regions as published, the writer."""
    picture = [image[name] for name in ("width", "height", "complete")]
    parts = [[region[name] for name in _PART_OF_KEY] for region in regions]
    return hashlib.sha256(json.dumps([writer, *picture, parts], sort_keys=True).encode()).hexdigest()[:32]


def run(task: QueryTask, written: dict[str, list[list[WrittenGroup]]] | None = None) -> dict[str, pa.Table]:
    """The tables of a shard; `written` holds the groups of each region by picture key, where a model wrote them."""
    found: dict[str, list[dict[str, Any]]] = {"groups": [], "refused": [], "pictures": []}
    for picture in task.pictures:
        found["pictures"].append({"picture_key": picture.key})
        view = view_of(picture)
        groups = [write_groups(view, region) for region in view.regions] if written is None else written[picture.key]
        for region, of_region in zip(view.regions, groups, strict=True):
            for group in of_region:
                _check(picture, view, region, group, found)
    schemas = {"groups": GROUPS, "refused": REFUSED, "pictures": PICTURES}
    return {name: pa.Table.from_pylist(rows, schema=schemas[name]) for name, rows in found.items()}


def view_of(picture: QueryPicture) -> PictureView:
    """The picture as writers and checks see it."""
    rows = [AttributeRow.model_validate(row) for row in picture.regions]
    return PictureView(picture.image_id, picture.width, picture.height, [RegionView(row) for row in rows])


def _check(
    picture: QueryPicture,
    view: PictureView,
    region: RegionView,
    written: WrittenGroup,
    found: dict[str, list[dict[str, Any]]],
) -> None:
    """Sort the queries of a group into those that passed and those that did not."""
    group = written.group
    place = {"picture_key": picture.key, "region_id": group.region_id, "group_id": group.group_id}
    checked = CheckedGroup(view, region, group, picture.complete)
    kept: list[Query] = []
    for query in group.queries:
        verdict = next((v for check in QUERY_CHECKS if (v := check(checked, query)).verdict == "fail"), None)
        verdict = verdict or written.failed.get(query.query_id)
        if verdict is None:
            kept.append(query)
            continue
        refused: dict[str, str | None] = {
            "check": verdict.check,
            "reason": verdict.reason,
            "evidence": verdict.evidence,
        }
        record: dict[str, str | None] = {
            "query_id": query.query_id,
            "facet": query.facet,
            "record": query.model_dump_json(),
        }
        found["refused"].append(place | refused | record)
    for question, reason, evidence in written.refused:
        record = {"query_id": None, "facet": None, "record": json.dumps({"question": question}, ensure_ascii=False)}
        found["refused"].append(place | {"check": _refuser(reason), "reason": reason, "evidence": evidence} | record)
    found["groups"].append(place | {"group": group.model_copy(update={"queries": kept}).model_dump_json()})


def _refuser(reason: str) -> str:
    """Who turned a question away before the checks: the model's reply could not be used, or its facet not be told."""
    return "served" if reason.startswith("reply-") else "facet"
