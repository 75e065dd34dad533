"""`slvr-data build-attributes`: plan, stages, publication; killed anywhere, the same command goes on."""

from __future__ import annotations

import json
import platform
import shutil
import socket
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipelines.config import BuildConfig
from pipelines.engines.local import LocalEngine, processors
from pipelines.finished import Finished, shards
from pipelines.history import History, history_of
from pipelines.plan import Plan, check_nothing_lost, load_partitions, save_partitions
from pipelines.progress import Progress
from pipelines.publish import Publisher
from pipelines.questions import Questions
from pipelines.reading import read_sources
from pipelines.settings import Settings, load_settings, reconciled, save_settings
from pipelines.tasks import TaskPicture
from slvr_data.errors import UsageError
from slvr_data.files import remove_leftovers, write_atomic
from slvr_data.ids import part_of
from slvr_data.lock import Lock
from slvr_data.manifest import NAME
from slvr_data.sources.base import SourceConfig

WORK = ".work"
_MARK = "slvr"
"""A file that says whose working folder it is."""
_READY_FOR = "run `slvr-data merge` over all parts to publish"


@dataclass
class Summary:
    """What a run did, for the table at its end and for `run.json`."""

    accounts: dict[str, int] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    seconds: dict[str, float] = field(default_factory=dict)
    """Wall seconds per phase."""
    cpu_seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    """CPU seconds per stage, all processes together."""
    reasons: dict[str, int] = field(default_factory=dict)
    """Records turned away, by reason."""
    published: bool = False


@contextmanager
def opened(out: Path, progress_file: str = "progress.json") -> Iterator[tuple[Path, Progress]]:
    """The working folder of a set, locked; made where there is none.

    Raises:
        UsageError: the folder holds something else, or another process writes it.
    """
    work = out / WORK
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out} is a file: name a folder")
    new = not (work / _MARK).exists()
    if new:
        _refuse_foreign(out)
    try:
        work.mkdir(parents=True, exist_ok=True)
        (work / _MARK).touch()
    except OSError as error:
        raise UsageError(f"--out {out} cannot be made: {error.strerror}") from None
    progress = Progress(work / progress_file)
    with Lock(work / "lock") as lock:
        if lock.took_over:
            progress.say(f"taking over from {lock.took_over}, which is gone")
        for folder in (work, out):
            remove_leftovers(folder)
        try:
            yield work, progress
        except UsageError:
            if new and not (work / "settings.json").exists():  # nothing was begun: leave nothing behind
                shutil.rmtree(work)
            raise


def _refuse_foreign(out: Path) -> None:
    found = sorted(path.name for path in out.iterdir()) if out.exists() else []
    if NAME in found:
        raise UsageError(f"--out {out} holds a published set without its working files: build into another folder")
    if found:
        raise UsageError(f"--out {out} holds something else ({found[0]}): name a new or an empty folder")


def build_attributes(config: BuildConfig) -> Summary:
    """Build or extend the set in `config.out`."""
    with opened(config.out) as (work, progress):
        summary = Summary()
        finished = Finished(work)
        finished.clean()
        known = load_settings(work)
        if known is None and finished.anything:
            raise UsageError(f"{work} holds finished work but not its settings.json: build into a new folder")
        settings = reconciled(config, known, finished.anything)
        history = history_of(config.out, work)
        named = config.sources
        config = config.model_copy(update={"sources": settings.sources, "publish": settings.publish})
        workers = config.workers or processors()
        with LocalEngine(config, work, workers) as engine:
            plan = _plan(named, config, settings, work, engine, progress, summary, history, has_work=finished.anything)
            _work(config, plan, finished, engine, progress, summary)
        if config.shard is None:
            publish(config, settings, work, plan, history, progress, summary)
        else:
            progress.say(f"part {config.shard} is finished: {_READY_FOR}")
        return summary


def _plan(
    named: list[SourceConfig],
    config: BuildConfig,
    settings: Settings,
    work: Path,
    engine: LocalEngine,
    progress: Progress,
    summary: Summary,
    history: History,
    has_work: bool,
) -> Plan:
    """Read the sources that this run names; what earlier runs read of others stays."""
    started = time.time()
    before = load_partitions(work / "plan") if has_work else {}
    read = read_sources(named, config, work, engine, progress, summary.cpu_seconds)
    again = {(source.name, file.name) for source in named for file in source.annotations}
    after = {key: table for key, table in before.items() if key not in again} | read
    if has_work:
        check_nothing_lost(before, after, history.given_up)
    else:  # rows of a run that was stopped before it made anything, perhaps of other sources
        shutil.rmtree(work / "plan", ignore_errors=True)
    save_settings(work, settings)
    save_partitions(work / "plan", read, again)
    plan = make_plan(config, after, history)
    if not plan.accounts["rows"]:
        names = ", ".join(source.name for source in config.sources)
        raise UsageError(f"no rows in {names}: the source is empty")
    summary.seconds["reading"] = time.time() - started
    return plan


def make_plan(config: BuildConfig, partitions: dict[tuple[str, str], pa.Table], history: History) -> Plan:
    """The plan over what has been read; what was published before keeps its split."""
    shares = (config.splits.train, config.splits.validation, config.splits.test)
    return Plan(partitions.values(), config.seed, shares, history.splits, history.regions)


def _work(
    config: BuildConfig, plan: Plan, finished: Finished, engine: LocalEngine, progress: Progress, summary: Summary
) -> None:
    part, parts = config.part
    mine = [image_id for image_id in plan.image_ids if part_of(image_id, parts) == part]
    size = config.shard_size or max(1, min(64, -(-len(mine) // (4 * engine.workers))))
    started = time.time()
    with progress.phase("working", "pictures", len(mine)) as counting:

        def still_open() -> Iterator[TaskPicture]:
            for picture in plan.pictures():
                if part_of(picture.image_id, parts) != part:
                    continue
                task = finished.open_work(picture)
                if task is None:
                    counting.advance(1, reused=True)
                    summary.counts["pictures reused"] += 1
                else:
                    summary.counts["regions cropped"] += len(task.crop)
                    summary.counts["pictures annotated"] += task.annotate
                    yield task

        for report in engine.map("run", ((task,) for task in shards(still_open(), size))):
            counting.advance(report.pictures)
            summary.counts["pictures worked"] += report.pictures
            for stage, seconds in report.cpu_seconds.items():
                summary.cpu_seconds[stage] += seconds
    summary.seconds["working"] = time.time() - started


def publish(
    config: BuildConfig,
    settings: Settings,
    work: Path,
    plan: Plan,
    history: History,
    progress: Progress,
    summary: Summary,
    to: Path | None = None,
) -> None:
    """Publish everything that is finished, and write `run.json`; with `to` there, without `run.json`."""
    started, cpu = time.time(), time.process_time()
    publisher = Publisher(config, work, plan, Finished(work), Questions(work) if settings.multiquery else None)
    configuration = {
        "data": settings.data,
        "sources": {
            source.name: source.affects_data() | {"annotations": [file.name for file in source.annotations]}
            for source in settings.sources
        },
        "publish": settings.publish.model_dump(mode="json"),
    }
    out, staging = (config.out, work / "publish") if to is None else (to, to / ".publish.tmp")
    summary.accounts = publisher.publish(out, staging, progress, configuration, history)
    for (_, _, reason), records in publisher.funnel.rejected.items():
        summary.reasons[reason] = summary.reasons.get(reason, 0) + records
    summary.published = True
    summary.seconds["publishing"] = time.time() - started
    summary.cpu_seconds["publish"] = time.process_time() - cpu
    if to is None:
        write_atomic(config.out / "run.json", (json.dumps(_run(config, summary), indent=1) + "\n").encode())


def _run(config: BuildConfig, summary: Summary) -> dict[str, Any]:
    """Everything that may differ between two equal runs."""
    return {
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "host": socket.gethostname(),
        "platform": platform.platform(),
        "configuration": config.model_dump(mode="json"),
        "counts": dict(summary.counts),
        "seconds": {phase: round(seconds, 3) for phase, seconds in summary.seconds.items()},
        "cpu_seconds": {stage: round(seconds, 3) for stage, seconds in summary.cpu_seconds.items()},
    }
