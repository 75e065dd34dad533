"""`slvr-data build-multiquery`: several questions about each region of a published set."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from pipelines.build import Summary, make_plan, opened, publish
from pipelines.engines.local import LocalEngine, processors
from pipelines.finished import Finished
from pipelines.history import history_of
from pipelines.plan import load_partitions
from pipelines.questions import Questions
from pipelines.republish import check_finished, config_of, known_settings
from pipelines.settings import save_settings
from pipelines.stages.multiquery import QueryPicture, QueryTask, picture_key
from slvr_data.checks.global_.priors import answerable_blind
from slvr_data.manifest import load_manifest
from slvr_data.reader import published_pictures


def build_multiquery(folder: Path, workers: int | None, shard_size: int | None) -> Summary:
    """Write, check and publish questions for every published region; the same command goes on after a kill.

    Raises:
        UsageError: there is no published set, or its attributes are not finished.
    """
    manifest = load_manifest(folder)
    with opened(folder) as (work, progress):
        settings = known_settings(folder, work).model_copy(update={"multiquery": True})
        config = config_of(settings, folder)
        history = history_of(folder, work)
        plan = make_plan(config, load_partitions(work / "plan"), history)
        check_finished(plan, Finished(work), folder, settings.parts)
        questions = Questions(work)
        questions.store.clean()
        summary, started = Summary(), time.time()
        keys: list[str] = []
        total = manifest.accounts["pictures_published"]
        count = workers or processors()
        size = shard_size or max(1, min(64, -(-total // (4 * count))))
        with LocalEngine(config, work, count) as engine, progress.phase("asking", "pictures", total) as counting:

            def still_open() -> Iterator[QueryPicture]:
                for picture in published_pictures(folder, manifest):
                    image = picture.image
                    key = picture_key(image, picture.regions)
                    keys.append(key)
                    if key in questions.written:
                        counting.advance(1, reused=True)
                        summary.counts["pictures reused"] += 1
                    else:
                        size_complete = image["width"], image["height"], image["complete"]
                        yield QueryPicture(key, image["image_id"], *size_complete, picture.regions)

            for report in engine.map("ask", ((task,) for task in _shards(still_open(), size))):
                counting.advance(report.pictures)
                for stage, seconds in report.cpu_seconds.items():
                    summary.cpu_seconds[stage] += seconds
        summary.seconds["asking"] = time.time() - started
        started = time.time()
        questions = Questions(work)
        questions.save_verdicts(answerable_blind(questions.groups_of(keys)))
        summary.seconds["comparing answers"] = time.time() - started
        save_settings(work, settings)
        publish(config, settings, work, plan, history, progress, summary)
        return summary


def _shards(pictures: Iterator[QueryPicture], size: int) -> Iterator[QueryTask]:
    held: list[QueryPicture] = []
    for picture in pictures:
        held.append(picture)
        if len(held) == size:
            yield QueryTask(held)
            held = []
    if held:
        yield QueryTask(held)
