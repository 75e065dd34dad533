"""What a served model is asked about the pictures of a shard, encoded in a worker, and the rows of its answers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.stages.attributes import annotated_picture, profile_row, usable_regions
from pipelines.stages.looks import Looking
from pipelines.stages.multiquery import view_of
from pipelines.store import StageStore
from pipelines.tasks import ToAsk
from slvr_data.annotators.base import Unfinished
from slvr_data.annotators.served.profiles import SentPictureTask, Served, StoredCrop, prepare
from slvr_data.queries.generate import WrittenGroup
from slvr_data.queries.served import QuestionsTask, ServedQuestions
from slvr_data.queries.served import prepare as prepare_questions

if TYPE_CHECKING:
    from pipelines.config import CropConfig
    from pipelines.stages.multiquery import QueryTask
    from pipelines.tasks import ShardTask
    from pipelines.worker import Worker


def profiles_to_ask(task: ShardTask, worker: Worker, dropped: set[str]) -> list[ToAsk]:
    """A picture that has nothing to ask about is finished all the same."""
    wanted = [(picture, usable_regions(picture, dropped)) for picture in task.pictures if picture.annotate]
    shards = {shard for picture, _ in wanted for shard in picture.crop_shards}
    crops = stored_crops(worker, {*shards, task.name}, [r.region_id for _, regions in wanted for r in regions])
    found = []
    for picture, regions in wanted:
        key = picture.planned.key
        if not regions:
            found.append(ToAsk(key, None, 0))
            continue
        seen = annotated_picture(picture.planned, regions, worker)
        sent = prepare(seen, regions, crops, crop_settings(worker.config.crop), worker.config.served)
        found.append(ToAsk(key, sent, size_of(sent)))
    return found


def stored_crops(worker: Worker, shards: Iterable[str], region_ids: list[str]) -> dict[str, StoredCrop]:
    """Region id -> crop, as far as the shards hold them."""
    store = StageStore(worker.work, "crop")
    found: dict[str, StoredCrop] = {}
    for shard in sorted(shards):
        if not (store.folder / shard).exists():  # nothing of this shard was left to crop
            continue
        table = store.load(shard, "crops", ["region_id", "box", "data"])
        kept = table.filter(pc.is_in(table["region_id"], pa.array(region_ids, pa.string())))
        found |= {row["region_id"]: StoredCrop(row["data"], row["box"]) for row in kept.to_pylist()}
    return found


def crop_settings(config: CropConfig) -> str:
    """How crops are cut and encoded: part of the key of each call."""
    return f"padding {config.padding:g} side {config.max_side} quality {config.quality}"


def size_of(sent: SentPictureTask | QuestionsTask) -> int:
    """Bytes of the encoded pictures, and of the text that they are sent as."""
    return 7 * (len(sent.picture.data) + sum(len(region.crop.data) for region in sent.regions)) // 3


async def asked_profiles(served: Served, looking: Looking, picture: ToAsk) -> list[dict[str, Any] | Unfinished]:
    """Rows of the table `profiles`, or what is still open, for each region of a picture."""
    sent: SentPictureTask | None = picture.asked
    if sent is None:
        return []
    answers = await served.annotate(sent)
    looks = await looking.at_profiles(sent, answers)
    rows: list[dict[str, Any] | Unfinished] = []
    for region, answer, look in zip(sent.regions, answers, looks, strict=True):
        if isinstance(answer, Unfinished):
            rows.append(answer)
        elif isinstance(look, Unfinished):
            rows.append(look)
        else:
            rows.append(profile_row(region.region, picture.key, answer, look))
    return rows


def questions_to_ask(task: QueryTask, worker: Worker) -> list[ToAsk]:
    """The same for questions about published regions."""
    shards = {shard for picture in task.pictures for shard in picture.crop_shards}
    regions = [region["region_id"] for picture in task.pictures for region in picture.regions]
    crops = stored_crops(worker, shards, regions)
    found = []
    for picture in task.pictures:
        assert picture.planned is not None
        pixels, settings, view = worker.pixels(picture.planned), crop_settings(worker.config.crop), view_of(picture)
        sent = prepare_questions(view, pixels, crops, settings, worker.config.served)
        again = (view, picture.complete) if worker.config.model_checks.asks_about_questions else None
        found.append(ToAsk(picture.key, (sent, again), size_of(sent)))
    return found


async def asked_questions(
    served: ServedQuestions, looking: Looking, picture: ToAsk
) -> list[list[WrittenGroup] | Unfinished]:
    """The groups of each region of a picture, or what is still open."""
    sent, again = picture.asked
    written = await served.write_groups(sent)
    if again is None:
        return written
    view, complete = again
    return await looking.at_questions(sent, view, complete, written)
