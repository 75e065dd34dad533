"""A worker process: it holds what all shards need, and takes one shard through the stages."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from pipelines.changed import note_changed
from pipelines.choice import leave_out_small
from pipelines.config import BuildConfig
from pipelines.plan import PlannedPicture, plan_table
from pipelines.stages import Stage, attributes, check, crop, multiquery, served
from pipelines.stages.avoid import Looked, compare_shard, describe_chunk
from pipelines.stages.multiquery import QueryTask
from pipelines.store import StageStore
from pipelines.tasks import PictureGoneError, Prepared, ShardReport, ShardTask
from slvr_data import images
from slvr_data.annotators.base import Annotator
from slvr_data.annotators.exact import Exact
from slvr_data.annotators.measured import Measured
from slvr_data.avoid.given import Chunk
from slvr_data.ids import image_id
from slvr_data.queries.generate import WrittenGroup
from slvr_data.regions import PictureFile, read_unit
from slvr_data.sources import Source, open_source
from slvr_data.sources.base import PictureMissingError, Unit
from slvr_data.sources.paths import checked_path

_CACHE_BYTES = 96 << 20


class Worker:
    """Everything of a worker process that outlives one shard."""

    def __init__(self, config: BuildConfig, work: Path) -> None:
        self.config = config
        self.work = work
        self.sources: dict[str, Source] = {
            source.name: open_source(source, config.seed, config.follow_links) for source in config.sources
        }
        self.annotator = _annotator(config)
        self._pixels: OrderedDict[str, Image.Image] = OrderedDict()
        self._held = 0

    def read(self, source: str, units: list[tuple[Unit, PictureFile | None]]) -> ReadReport:
        """Read units of a source into rows of the plan."""
        started = time.process_time()
        rows, files = [], []
        for unit, known in units:
            found, picture = read_unit(self.sources[source], unit, known)
            leave_out_small(found, picture, self.config.regions.least_share)
            rows += found
            files.append((unit.path, picture))
        return ReadReport(source, plan_table(rows), files, time.process_time() - started)

    def run(self, task: ShardTask) -> ShardReport:
        """Take a shard through the stages that it still needs; each commits its own output."""
        report = ShardReport(len(task.pictures), sum(len(p.planned.regions) for p in task.pictures))
        made: dict[str, Any] = {}
        started = time.process_time()
        crop.Crop().run(task, self, made)
        report.cpu_seconds["crop"] = time.process_time() - started
        stages: list[Stage] = [attributes.Attributes(), check.Check()]
        for stage in stages:
            started = time.process_time()
            tables = asyncio.run(stage.run(task, self, made))
            if tables:
                StageStore(self.work, stage.name).commit(task.name, tables)
            report.cpu_seconds[stage.name] = time.process_time() - started
        self.forget()
        return report

    def prepare(self, task: ShardTask) -> Prepared:
        """The first part of a served shard: crop, and encode what is sent."""
        started = time.process_time()
        made: dict[str, Any] = {}
        crop.Crop().run(task, self, made)
        cropped = time.process_time()
        pictures = served.profiles_to_ask(task, self, made["dropped"])
        self.forget()
        seconds = {"crop": cropped - started, "encode": time.process_time() - cropped}
        return Prepared(pictures, made["dropped"], seconds)

    def finish(self, task: ShardTask, dropped: set[str], rows: dict[str, list[dict[str, Any]]]) -> ShardReport:
        """The last part: check and commit what was answered; `rows` of `profiles` by picture key.

        Pictures that should have rows and have none stay open.
        """
        started = time.process_time()
        done = ShardTask([p for p in task.pictures if not p.annotate or p.planned.key in rows])
        report = ShardReport(len(done.pictures), sum(len(p.planned.regions) for p in done.pictures))
        if done.pictures:
            profiles = [row for found in rows.values() for row in found]
            annotated = [picture for picture in done.pictures if picture.annotate]
            if annotated:
                StageStore(self.work, "attributes").commit(done.name, attributes.profile_tables(profiles, annotated))
            tables = asyncio.run(check.Check().run(done, self, {"dropped": dropped, "profiles": profiles}))
            StageStore(self.work, "check").commit(done.name, tables)
        self.forget()
        report.cpu_seconds["check"] = time.process_time() - started
        return report

    def describe_avoided(self, chunk: Chunk) -> Looked:
        """Describe pictures that are to be kept out of train."""
        return describe_chunk(chunk, self.work)

    def compare_avoided(self, task: ShardTask, index: str) -> Looked:
        """Look for them among the pictures of a shard."""
        return compare_shard(task, index, self)

    def forget(self) -> None:
        """Let go of decoded pictures."""
        self._pixels.clear()
        self._held = 0

    def ask(self, task: QueryTask) -> ShardReport:
        """Write and check questions for a shard of published pictures."""
        started = time.process_time()
        StageStore(self.work, "multiquery").commit(task.name, multiquery.run(task))
        seconds = {"multiquery": time.process_time() - started}
        return ShardReport(len(task.pictures), sum(len(p.regions) for p in task.pictures), seconds)

    def prepare_questions(self, task: QueryTask) -> Prepared:
        """As `prepare`, for questions about published regions."""
        started = time.process_time()
        pictures = served.questions_to_ask(task, self)
        self.forget()
        return Prepared(pictures, None, {"encode": time.process_time() - started})

    def finish_questions(
        self, task: QueryTask, carried: None, groups: dict[str, list[list[WrittenGroup]]]
    ) -> ShardReport:
        """As `finish`, with the groups of each region by picture key."""
        started = time.process_time()
        done = QueryTask([picture for picture in task.pictures if picture.key in groups])
        if done.pictures:
            StageStore(self.work, "multiquery").commit(done.name, multiquery.run(done, groups))
        seconds = {"multiquery": time.process_time() - started}
        return ShardReport(len(done.pictures), sum(len(p.regions) for p in done.pictures), seconds)

    def source_bytes(self, picture: PlannedPicture) -> bytes:
        """The bytes of a picture's source file, from the first place where it still is what the plan saw.

        Raises:
            PictureGoneError: there is none.
        """
        problem, changed = "", []
        for source, path in picture.files:
            try:
                data = self.sources[source].read_picture(path)
            except PictureMissingError as error:
                problem = (
                    f"{error.evidence} (it was there when it was read); where the pictures have moved, build again with"
                )
                problem += f" --images, or merge with --images {source}=DIR"
                continue
            if image_id(data) == picture.image_id:
                return data
            changed.append((source, path))
            problem = f"{path!r} has changed since it was read: run slvr-data build-attributes again, to read it anew"
        for source, path in changed:
            self._note_changed(source, path, picture)
        raise PictureGoneError(f"source {picture.files[-1][0]}: {problem}")

    def _note_changed(self, source: str, path: str, picture: PlannedPicture) -> None:
        """Have the next build read a file again, of whatever size and time it is."""
        root = self.sources[source].config.images
        if root is not None:
            regions = [region.region.region_id for region in picture.regions]
            note_changed(self.work, checked_path(root, path, self.config.follow_links), regions)

    def upright(self, picture: PlannedPicture) -> images.Upright:
        """The picture, decoded; its pixels stay at hand for the next stages."""
        data = self.source_bytes(picture)
        upright = images.load(data, self.config.picture.max_pixels, self.config.picture.quality)
        self._pixels[picture.image_id] = upright.pixels
        self._held += 3 * upright.width * upright.height
        while self._held > _CACHE_BYTES and len(self._pixels) > 1:
            _, gone = self._pixels.popitem(last=False)
            self._held -= 3 * gone.width * gone.height
        return upright

    def pixels(self, picture: PlannedPicture) -> Image.Image:
        """The decoded picture, from memory where a stage before has just decoded it."""
        kept = self._pixels.get(picture.image_id)
        return kept if kept is not None else self.upright(picture).pixels


def _annotator(config: BuildConfig) -> Annotator | None:
    """Who writes profiles in a worker; nobody where a model does, which is asked elsewhere (`pipelines.served`)."""
    if config.annotator == "served":
        return None
    return Exact() if config.annotator == "exact" else Measured(config.measured)


@dataclass
class ReadReport:
    """What came of reading some units."""

    source: str
    table: object
    """Rows, as a table of `PLAN_SCHEMA`."""
    files: list[tuple[str | None, PictureFile | None]]
    cpu_seconds: float
