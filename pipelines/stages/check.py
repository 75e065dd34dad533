"""The stage `check`: every local check looks at every profile.

Tables: `verdicts` (a row per profile: all verdicts as JSON) and `pictures`, as in `attributes`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from pipelines.stages.attributes import PICTURES, annotated_picture, usable_regions
from pipelines.store import StageStore
from slvr_data.checks import LOCAL_CHECKS, CheckedRegion
from slvr_data.schema import AttributeProfile

if TYPE_CHECKING:
    from pipelines.tasks import ShardTask, TaskPicture
    from pipelines.worker import Worker

VERDICTS = pa.schema([(n, pa.string()) for n in ("region_id", "image_id", "picture_key", "verdicts")])


class Check:
    """See the module."""

    name = "check"

    async def run(self, task: ShardTask, worker: Worker, made: dict[str, Any]) -> dict[str, pa.Table]:
        """Tables for the pictures whose profiles have not been checked yet."""
        profiles = {row["region_id"]: row for row in made["profiles"]}
        for shard in {p.profiled_in for p in task.pictures if p.profiled_in}:
            columns = ["region_id", "picture_key", "profile", "second_look"]
            rows = StageStore(worker.work, "attributes").load(shard, "profiles", columns)
            wanted = {p.planned.key for p in task.pictures if p.profiled_in == shard}
            profiles |= {r["region_id"]: r for r in rows.to_pylist() if r["picture_key"] in wanted}
        verdicts = [row for picture in task.pictures for row in _check(picture, worker, profiles, made["dropped"])]
        pictures = [{"image_id": p.planned.image_id, "picture_key": p.planned.key} for p in task.pictures]
        return {
            "verdicts": pa.Table.from_pylist(verdicts, schema=VERDICTS),
            "pictures": pa.Table.from_pylist(pictures, schema=PICTURES),
        }


def _check(
    picture: TaskPicture, worker: Worker, profiles: dict[str, dict[str, Any]], dropped: set[str]
) -> list[dict[str, Any]]:
    regions = usable_regions(picture, dropped)
    if not regions:
        return []
    seen = annotated_picture(picture.planned, regions, worker)
    rows = []
    for region in regions:
        row = profiles.get(region.region_id, {})
        if row.get("profile") is None:  # the annotator failed on it, and said why
            continue
        record = CheckedRegion(seen, region, AttributeProfile.model_validate_json(row["profile"]))
        verdicts = [check(record).model_dump() for check in LOCAL_CHECKS]
        if row.get("second_look"):
            verdicts.append(json.loads(row["second_look"]))
        rows.append(
            {
                "region_id": region.region_id,
                "image_id": region.image_id,
                "picture_key": picture.planned.key,
                "verdicts": json.dumps(verdicts),
            }
        )
    return rows
