"""A worker process: it holds what all shards need, and takes one shard through the stages."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from pipelines.config import BuildConfig
from pipelines.plan import PlannedPicture, plan_table
from pipelines.stages import Stage, attributes, check, crop, multiquery
from pipelines.stages.multiquery import QueryTask
from pipelines.store import StageStore
from pipelines.tasks import ShardReport, ShardTask
from slvr_data import images
from slvr_data.annotators.base import Annotator
from slvr_data.annotators.exact import Exact
from slvr_data.annotators.measured import Measured
from slvr_data.errors import RunError
from slvr_data.ids import image_id
from slvr_data.regions import PictureFile, read_unit
from slvr_data.sources import Source, open_source
from slvr_data.sources.base import PictureMissingError, Unit

_CACHE_BYTES = 96 << 20


class Worker:
    """Everything of a worker process that outlives one shard."""

    def __init__(self, config: BuildConfig, work: Path) -> None:
        self.config = config
        self.work = work
        self.sources: dict[str, Source] = {
            source.name: open_source(source, config.seed, config.follow_links) for source in config.sources
        }
        self.annotator: Annotator = Exact() if config.annotator == "exact" else Measured(config.measured)
        self._pixels: OrderedDict[str, Image.Image] = OrderedDict()
        self._held = 0

    def read(self, source: str, units: list[tuple[Unit, PictureFile | None]]) -> ReadReport:
        """Read units of a source into rows of the plan."""
        started = time.process_time()
        rows, files = [], []
        for unit, known in units:
            found, picture = read_unit(self.sources[source], unit, known)
            rows += found
            files.append((unit.path, picture))
        return ReadReport(source, plan_table(rows), files, time.process_time() - started)

    def run(self, task: ShardTask) -> ShardReport:
        """Take a shard through the stages that it still needs; each commits its own output."""
        report = ShardReport(len(task.pictures), sum(len(p.planned.regions) for p in task.pictures))
        made: dict[str, object] = {}
        stages: list[Stage] = [crop.Crop(), attributes.Attributes(), check.Check()]
        for stage in stages:
            started = time.process_time()
            tables = asyncio.run(stage.run(task, self, made))
            if tables:
                StageStore(self.work, stage.name).commit(task.name, tables)
            report.cpu_seconds[stage.name] = time.process_time() - started
        self._pixels.clear()
        self._held = 0
        return report

    def ask(self, task: QueryTask) -> ShardReport:
        """Write and check questions for a shard of published pictures."""
        started = time.process_time()
        StageStore(self.work, "multiquery").commit(task.name, multiquery.run(task))
        seconds = {"multiquery": time.process_time() - started}
        return ShardReport(len(task.pictures), sum(len(p.regions) for p in task.pictures), seconds)

    def source_bytes(self, picture: PlannedPicture) -> bytes:
        """The bytes of a picture's source file, from the first place where it still is what the plan saw."""
        problem = ""
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
            problem = f"{path!r} has changed since it was read: run the same command again"
        raise RunError(f"source {picture.files[-1][0]}: {problem}")

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


@dataclass
class ReadReport:
    """What came of reading some units."""

    source: str
    table: object
    """Rows, as a table of `PLAN_SCHEMA`."""
    files: list[tuple[str | None, PictureFile | None]]
    cpu_seconds: float
