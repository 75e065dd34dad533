"""The stage `attributes`: the annotator writes a profile for each region that was cropped.

Tables: `profiles` (a row per region: the profile, or why there is none) and `pictures` (which state of
each picture the profiles are of).
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from pipelines.choice import shorter_side
from slvr_data.annotators.base import AnnotatedPicture, Failure, Profile
from slvr_data.schema import Provenance, Region, Verdict

if TYPE_CHECKING:
    from pipelines.plan import PlannedPicture
    from pipelines.tasks import ShardTask, TaskPicture
    from pipelines.worker import Worker

PICTURES = pa.schema([("image_id", pa.string()), ("picture_key", pa.string())])
PROFILES = pa.schema(
    [
        (n, pa.string())
        for n in (
            "region_id", "image_id", "picture_key", "profile", "provenance", "reason", "evidence", "second_look",
        )
    ]
)  # fmt: skip
"""`profile`, `provenance` and the verdict `second_look` as JSON; `reason` and `evidence` of a failure instead."""


class Attributes:
    """See the module."""

    name = "attributes"

    async def run(self, task: ShardTask, worker: Worker, made: dict[str, Any]) -> dict[str, pa.Table]:
        """Tables for the pictures whose profiles are open."""
        profiles: list[dict[str, Any]] = []
        pictures = [picture for picture in task.pictures if picture.annotate]
        for picture in pictures:
            profiles += await self._annotate(picture, worker, made["dropped"])
        made["profiles"] = profiles
        return profile_tables(profiles, pictures) if pictures else {}

    async def _annotate(self, picture: TaskPicture, worker: Worker, dropped: set[str]) -> list[dict[str, Any]]:
        regions = usable_regions(picture, dropped)
        if not regions:
            return []
        assert worker.annotator is not None
        answers = await worker.annotator.annotate(annotated_picture(picture.planned, regions, worker), regions)
        key = picture.planned.key
        return [profile_row(region, key, answer) for region, answer in zip(regions, answers, strict=True)]


def profile_row(
    region: Region, picture_key: str, answer: Profile | Failure, second_look: Verdict | None = None
) -> dict[str, Any]:
    """A row of `profiles`. That of a failure names the request behind it, where there was one."""
    row: dict[str, Any] = {"region_id": region.region_id, "image_id": region.image_id, "picture_key": picture_key}
    if isinstance(answer, Profile):
        row["profile"] = answer.attributes.model_dump_json()
        row["provenance"] = answer.provenance.model_dump_json()
        row["second_look"] = second_look.model_dump_json() if second_look is not None else None
        return row
    row |= {"reason": answer.reason, "evidence": answer.evidence}
    if answer.request_key is not None:
        row["provenance"] = Provenance(annotator="served", request_keys=[answer.request_key]).model_dump_json()
    return row


def profile_tables(profiles: list[dict[str, Any]], pictures: list[TaskPicture]) -> dict[str, pa.Table]:
    """The stage's tables, of `profiles` as `profile_row` makes them; `pictures` are those that they are of."""
    keys = [{"image_id": picture.planned.image_id, "picture_key": picture.planned.key} for picture in pictures]
    return {
        "profiles": pa.Table.from_pylist(profiles, schema=PROFILES),
        "pictures": pa.Table.from_pylist(keys, schema=PICTURES),
    }


def usable_regions(picture: TaskPicture, dropped: Iterable[str]) -> list[Region]:
    """The picture's regions that `crop` has kept, now or before."""
    gone = {*picture.dropped, *dropped}
    return [r.region for r in picture.planned.regions if r.rejected is None and r.region.region_id not in gone]


def annotated_picture(planned: PlannedPicture, usable: list[Region], worker: Worker) -> AnnotatedPicture:
    """What annotators and checks see of a picture.

    A label is complete only where everything that carries it, small things included, is usable and from
    a source that annotates every instance. What is left out by choice counts as usable here.
    """
    kept = {region.region_id for region in usable}
    least = worker.config.crop.min_side
    kept |= {r.region.region_id for r in planned.regions if r.left_out and shorter_side(r.region.bbox) >= least}
    regions = [r.region for r in planned.regions if r.region.region_id in kept]
    partly = {r.region.label for r in planned.regions if not r.exhaustive or r.region.region_id not in kept}
    size = worker.pixels(planned).size
    return AnnotatedPicture(
        image_id=planned.image_id,
        width=size[0],
        height=size[1],
        regions=regions,
        complete_labels=frozenset(r.label for r in regions if r.label is not None and r.label not in partly),
        open_pixels=partial(worker.pixels, planned),
        unusable=[r.region for r in planned.regions if r.region.region_id not in kept],
        complete=planned.complete,
    )
