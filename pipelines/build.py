"""`slvr-data build-attributes`: plan, stages, publication; killed anywhere, the same command goes on."""

from __future__ import annotations

import json
import platform
import shutil
import socket
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from pipelines.asking_config import check_addresses, check_served
from pipelines.avoid import Avoiding, Comparing
from pipelines.choice import Choice
from pipelines.config import BuildConfig
from pipelines.embeddings import Embeddings
from pipelines.engines import Engine, open_engine
from pipelines.finished import Finished, shards
from pipelines.history import History, history_of
from pipelines.left import UNSEEN, Left
from pipelines.matches import Matches
from pipelines.opened import WORK, opened
from pipelines.partitions import load_partitions, partition_path, save_partitions
from pipelines.plan import Plan, check_nothing_lost
from pipelines.progress import Progress
from pipelines.publish import Publisher
from pipelines.questions import Questions
from pipelines.reading import read_sources
from pipelines.report import requests_of
from pipelines.retry import Retries, rejected_profiles
from pipelines.settings import Settings, load_settings, reconciled, save_settings
from pipelines.tasks import ShardReport, TaskPicture
from slvr_data.commandline import plain
from slvr_data.errors import UsageError
from slvr_data.files import write_atomic
from slvr_data.ids import part_of
from slvr_data.remote.artefacts import note_removed
from slvr_data.requests.failures import UnfinishedError
from slvr_data.sources.base import SourceConfig

if TYPE_CHECKING:
    from pipelines.serving import Serving

_READY_FOR = "run `slvr-data merge` over all parts to publish"
_GOES_ON = "the same command goes on with the rest"
STAGING = ".publish.tmp"
"""Where a publication is made in a folder that is not the set's own."""


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
    requests: dict[str, Any] = field(default_factory=dict)
    """What calls of a served model have cost (`slvr_data.requests.ledger`)."""
    published: bool = False
    unfinished: str = ""
    """What is left open and why, in words."""

    def end(self) -> None:
        """To be called when all has been shown.

        Raises:
            UnfinishedError: something is left open.
        """
        if self.unfinished:
            raise UnfinishedError(self.unfinished)


def build_attributes(config: BuildConfig, retry_rejected: str | None = None) -> Summary:
    """Build or extend the set in `config.out`; with `retry_rejected`, give regions rejected so more attempts.

    Raises:
        ServerError: the server of a served model is plainly wrong.
    """
    check_addresses(config.served)  # they go into run.json, whoever writes profiles
    fresh = not (config.out / WORK / "settings.json").exists()
    if config.annotator == "served":
        check_served(config.served)
        if fresh:  # a wrong server leaves no folder behind
            _look_at_server(config)
    elif retry_rejected:
        raise UsageError("--retry-rejected goes with --annotator served")
    with opened(config.out) as (work, progress):
        summary = Summary()
        finished = Finished(work)
        finished.clean()
        known = load_settings(work)
        if known is None and finished.anything:
            raise UsageError(f"{work} holds finished work but not its settings.json: build into a new folder")
        if retry_rejected and not finished.anything:
            raise UsageError("--retry-rejected: nothing has been built yet, so nothing is rejected")
        settings = reconciled(config, known, finished.anything)
        avoiding = Avoiding(config.avoid, settings.avoid, config.out, progress.say)
        settings.avoid = avoiding.intended()
        history = history_of(config.out, work)
        named = config.sources
        config = config.model_copy(update={"sources": settings.sources, "publish": settings.publish})
        retries = Retries(work, "attributes", config.served, progress.say)
        retries.go_on()
        with open_engine(config.engine, config.ray, config, work, config.workers, progress.say) as engine:
            plan = _plan(named, config, settings, work, engine, progress, summary, history, has_work=finished.anything)
            if retry_rejected:
                finished = Finished(work)
                retries.begin(retry_rejected, partial(rejected_profiles, plan, finished))
            if finished.has_old():
                finished = Finished(work, old=False)
            left = _work(config, work, plan, finished, engine, progress, summary, looked=fresh)
            comparing = Comparing(config, plan, work, engine, progress, summary.cpu_seconds, left or Left())
            left = _avoid(avoiding, settings, comparing, summary)
        del finished  # before the next one is made
        finished = Finished(work)
        if config.shard is None:
            publish(config, settings, work, plan, history, progress, summary, finished=finished)
        elif left is None:
            _end_part(config, finished, plan, progress, summary)
        if settings.multiquery and avoiding.anew:
            progress.say(f"what is avoided has changed: run slvr-data build-multiquery {config.out} again")
        pictures = plan.pictures() if finished.reopened else iter(())
        as_before = sum(len(picture.regions) for picture in pictures if picture.key in finished.reopened)
        if left is not None or summary.accounts.get("regions_unfinished"):
            summary.unfinished = _left(config, summary, left.why() if left is not None else UNSEEN, as_before)
        elif not as_before:
            retries.over()
        if not summary.unfinished:
            finished.forget_damaged()
        return summary


def _look_at_server(config: BuildConfig) -> None:
    from pipelines.serving import preflight

    preflight(config.served, config.out / WORK, lambda text: print(plain(text), file=sys.stderr, flush=True))


def _end_part(config: BuildConfig, finished: Finished, plan: Plan, progress: Progress, summary: Summary) -> None:
    """Say that a part is finished, where all of it is there to be seen."""
    part, parts = config.part
    mine = (picture for picture in plan.pictures() if part_of(picture.image_id, parts) == part)
    if missing := sum(finished.open_work(picture) is not None for picture in mine):
        summary.unfinished = f"{missing:,} pictures of part {config.shard} are unfinished ({UNSEEN}); {_GOES_ON}"
    else:
        progress.say(f"part {config.shard} is finished: {_READY_FOR}")


def _left(config: BuildConfig, summary: Summary, why: str, as_before: int) -> str:
    """In words; `as_before` regions are those of pictures that a retry has opened."""
    regions = summary.accounts.get("regions_unfinished")
    what = f"{regions:,} regions are unfinished" if regions else "not all regions are finished"
    if as_before:
        again = f"the pictures of {as_before:,} regions are not asked about again yet, and stay as they were"
        what = f"{what}, and {again}" if regions else again
    kept = "what is finished is published" if config.shard is None else "what is finished is kept"
    return f"{what} ({why}); {kept}, {_GOES_ON}"


def _plan(
    named: list[SourceConfig],
    config: BuildConfig,
    settings: Settings,
    work: Path,
    engine: Engine,
    progress: Progress,
    summary: Summary,
    history: History,
    has_work: bool,
) -> Plan:
    """Read the sources that this run names; what earlier runs read of others stays."""
    started = time.time()
    again = {(source.name, file.name) for source in named for file in source.annotations}
    anew = {partition_path(work / "plan", *pair) for pair in again}
    anew |= {work / "plan" / source.name for source in named if not source.annotations}
    before = load_partitions(work / "plan", anew, settings.sources) if has_work else {}
    read = read_sources(named, config, work, engine, progress, summary.cpu_seconds)
    after = {key: table for key, table in before.items() if key not in again} | read
    if has_work:
        check_nothing_lost(before, after, history.given_up)
    else:  # rows of a run that was stopped before it made anything, perhaps of other sources
        note_removed(work, "plan")
        shutil.rmtree(work / "plan", ignore_errors=True)
    save_partitions(work / "plan", read, again)
    save_settings(work, settings)  # then: what they name has been read
    plan = make_plan(config, after, history)
    if not plan.accounts["rows"]:
        names = ", ".join(source.name for source in config.sources)
        raise UsageError(f"no rows in {names}: the source is empty")
    summary.seconds["reading"] = time.time() - started
    return plan


def make_plan(config: BuildConfig, partitions: dict[tuple[str, str], pa.Table], history: History) -> Plan:
    """The plan over what has been read; what was published before keeps its split."""
    shares = (config.splits.train, config.splits.validation, config.splits.test)
    told = config.annotator == "served"
    choice = Choice(config.regions, config.crop.min_side, config.seed, history.regions)
    return Plan(partitions.values(), config.seed, shares, history.splits, history.regions, told, choice)


def _work(
    config: BuildConfig,
    work: Path,
    plan: Plan,
    finished: Finished,
    engine: Engine,
    progress: Progress,
    summary: Summary,
    looked: bool,
) -> Left | None:
    """Everything that is open; what of it is still open at the end, where a served model left some.

    `looked`: its server has been looked at.
    """
    part, parts = config.part
    mine = [image_id for image_id in plan.image_ids if part_of(image_id, parts) == part]
    serving = _serving(config, work, engine, progress, looked)
    most = 64 if serving is None else 16  # what is sent of a shard's pictures is in memory while it is asked about
    size = config.shard_size or max(1, min(most, -(-len(mine) // (4 * engine.workers))))
    started, left = time.time(), Left()
    note = serving.note if serving else engine.note
    with progress.phase("working", "pictures", len(mine), note) as counting:

        def done(report: ShardReport) -> None:
            counting.advance(report.pictures)
            summary.counts["pictures worked"] += report.pictures
            for stage, seconds in report.cpu_seconds.items():
                summary.cpu_seconds[stage] += seconds

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

        tasks = shards(still_open(), size)
        if serving is not None:
            serving.profiles(tasks, done)
        else:
            for report in engine.map("run", ((task,) for task in tasks), left.lose):
                done(report)
    summary.seconds["working"] = time.time() - started
    left = serving.left if serving is not None else left
    return left if left.why() else None


def _avoid(avoiding: Avoiding, settings: Settings, comparing: Comparing, summary: Summary) -> Left | None:
    """Compare with what is avoided, and remember that in the settings: from then on publications hold to it.

    What is open at the end, what was before included.
    """
    started = time.time()
    settings.avoid = avoiding.looked(comparing)
    save_settings(comparing.work, settings)
    if settings.avoid:
        summary.seconds["avoiding"] = time.time() - started
    return comparing.left if comparing.left.why() else None


def _serving(config: BuildConfig, work: Path, engine: Engine, progress: Progress, looked: bool) -> Serving | None:
    if config.annotator != "served":
        return None
    from pipelines.serving import Serving

    return Serving(config.served, config.model_checks, work, engine, progress, looked)


def publish(
    config: BuildConfig,
    settings: Settings,
    work: Path,
    plan: Plan,
    history: History,
    progress: Progress,
    summary: Summary,
    to: Path | None = None,
    finished: Finished | None = None,
) -> None:
    """Publish everything that is finished, and write `run.json`; with `to` there, without `run.json`.

    `finished`: as the stages are now, where that has been looked up.
    """
    started, cpu = time.time(), time.process_time()
    questions = Questions(work, settings.question_writer) if settings.multiquery else None
    embeddings = Embeddings(work, settings.embeddings) if settings.embeddings else None
    matches = Matches(work, settings.avoid) if settings.avoid else None
    finished = Finished(work) if finished is None else finished
    publisher = Publisher(config, work, plan, finished, questions, embeddings, matches)
    configuration = {
        "data": settings.data,
        "sources": {
            source.name: source.affects_data() | {"annotations": [file.name for file in source.annotations]}
            for source in settings.sources
        },
        "publish": settings.publish.model_dump(mode="json"),
    }
    if settings.multiquery and settings.question_writer and settings.question_writer.startswith("{"):
        configuration["multiquery"] = json.loads(settings.question_writer)
    if settings.embeddings:
        configuration["embeddings"] = settings.embeddings.model_dump(mode="json")
    if settings.avoid:
        configuration["avoid"] = settings.avoid.told()
    out, staging = (config.out, work / "publish") if to is None else (to, to / STAGING)
    summary.accounts = publisher.publish(out, staging, progress, configuration, history)
    for (_, _, reason), records in publisher.funnel.rejected.items():
        summary.reasons[reason] = summary.reasons.get(reason, 0) + records
    if without := summary.accounts.get("pictures_without_questions"):
        progress.say(f"{without:,} pictures have no questions: run slvr-data build-multiquery {config.out} again")
    summary.published = True
    summary.seconds["publishing"] = time.time() - started
    summary.cpu_seconds["publish"] = time.process_time() - cpu
    if to is None and matches is not None:
        matches.write()
    if to is None:
        summary.requests = requests_of(work, summary.accounts["published"])
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
    } | ({"requests": summary.requests} if summary.requests else {})
