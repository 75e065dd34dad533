"""`slvr-data build-multiquery`: several questions about each region of a published set."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.asking_config import AskingConfig, check_served
from pipelines.build import Summary, make_plan, publish
from pipelines.config import BuildConfig
from pipelines.engines import Engine, open_engine
from pipelines.finished import Finished
from pipelines.history import history_of
from pipelines.left import Left
from pipelines.opened import opened
from pipelines.partitions import load_partitions
from pipelines.plan import Plan
from pipelines.progress import Progress
from pipelines.questions import BEFORE, Questions
from pipelines.republish import check_finished, config_of, known_settings
from pipelines.retry import Retries, rejected_questions
from pipelines.settings import Settings, save_settings
from pipelines.stages.multiquery import QueryPicture, QueryTask, picture_key
from pipelines.tasks import ShardReport
from slvr_data.checks.global_.priors import answerable_blind
from slvr_data.errors import UsageError
from slvr_data.manifest import Manifest, load_manifest
from slvr_data.reader import published_pictures
from slvr_data.settings import flat

if TYPE_CHECKING:
    from pipelines.serving import Serving

_UNSEEN = "they are published only now, or their shards are damaged or not to be seen from here yet"
"""Why pictures have no questions although every call has come back."""


@dataclass
class _Run:
    """What one run works with, and what it has seen."""

    folder: Path
    work: Path
    manifest: Manifest
    asking: AskingConfig
    config: BuildConfig
    plan: Plan
    finished: Finished
    questions: Questions
    progress: Progress
    summary: Summary = field(default_factory=Summary)
    keys: list[str] = field(default_factory=list)
    """States of all published pictures, in their order."""


def build_multiquery(
    folder: Path, asking: AskingConfig, retry_rejected: str | None = None, rewrite: bool = False
) -> Summary:
    """Write, check and publish questions for every published region; the same command goes on after a kill.

    With `retry_rejected`, groups whose replies were rejected so get more attempts. With `rewrite`, another writer
    than that of the set's questions writes all anew; theirs stay published until all of its own are there.

    Raises:
        UsageError: there is no published set, its attributes are not finished, or another writer wrote its questions.
        ServerError: the server of a served model is plainly wrong.
    """
    manifest = load_manifest(folder)
    if asking.annotator == "served":
        check_served(asking.served)
    elif retry_rejected:
        raise UsageError("--retry-rejected goes with --annotator served")
    with opened(folder) as (work, progress):
        known = known_settings(folder, work)
        if not rewrite:
            _refuse_another_writer(known, asking)
        settings = known.model_copy(update={"multiquery": True, "question_writer": asking.writer})
        told = {"served": asking.served, "model_checks": asking.model_checks}
        config = config_of(settings, folder).model_copy(update=told)
        history = history_of(folder, work)
        plan = make_plan(config, load_partitions(work / "plan", sources=settings.sources), history)
        finished = Finished(work)
        check_finished(plan, finished, folder, settings.parts)
        questions = Questions(work, asking.writer)
        questions.store.clean()
        run = _Run(folder, work, manifest, asking, config, plan, finished, questions, progress)
        retries = _retries(run, retry_rejected) if asking.annotator == "served" else None
        run.questions = Questions(work, asking.writer, old=False)
        left = _ask(run)
        settings = _settled(run, known, settings, left)
        started = time.time()
        questions = Questions(work, settings.question_writer)
        keys = run.keys if questions.writer == asking.writer else _states(run, questions.writer)
        questions.save_verdicts(answerable_blind(questions.groups_of([k for k in keys if k in questions.written])))
        run.summary.seconds["comparing answers"] = time.time() - started
        save_settings(work, settings)
        publish(config_of(settings, folder), settings, work, plan, history, progress, run.summary, finished=finished)
        if left or run.summary.accounts.get("pictures_without_questions"):
            run.summary.unfinished = _left(run, questions, left or _UNSEEN)
            return run.summary
        questions.store.forget_damaged()
        if retries is not None:
            retries.over()
        return run.summary


def _refuse_another_writer(known: Settings, asking: AskingConfig) -> None:
    """Questions are not written anew, and paid for, by a slip. Raises UsageError."""
    if not known.multiquery:
        return
    before, now = _told(known.question_writer or BEFORE), _told(asking.writer)
    if before["annotator"] != now["annotator"]:
        before, now = ({"annotator": told["annotator"]} for told in (before, now))
    changes = [
        f"{name}: {before.get(name)!r} -> {now.get(name)!r}"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    ]
    if changes:
        raise UsageError(
            f"the questions of this set were written otherwise ({', '.join(changes)}): use the old settings, or give "
            "--rewrite to write all anew"
        )


def _told(writer: str) -> dict[str, Any]:
    """What a writer's name says of it, flat."""
    if writer.startswith("{"):
        return flat(json.loads(writer))
    return {"annotator": "templates", "version": writer}


def _named(writer: str) -> str:
    """A writer in a few words."""
    if not writer.startswith("{"):
        return writer
    return f"the served model {_told(writer).get('model')}"


def _retries(run: _Run, reason: str | None) -> Retries:
    """Those that are not over; with a reason, one more."""
    retries = Retries(run.work, "multiquery", run.asking.served, run.progress.say)
    retries.go_on()
    if reason is not None:
        questions = Questions(run.work, run.asking.writer)
        retries.begin(reason, partial(rejected_questions, questions, _states(run, run.asking.writer)))
    return retries


def _states(run: _Run, writer: str) -> list[str]:
    """Of all published pictures, as one writer's questions know them."""
    pictures = published_pictures(run.folder, run.manifest)
    return [picture_key(picture.image, picture.regions, writer) for picture in pictures]


def _settled(run: _Run, known: Settings, settings: Settings, left: str) -> Settings:
    """The settings to publish with: the writer changes when all its questions are there, if there are any others."""
    before = known.question_writer or BEFORE
    if not left or not known.multiquery or before == run.asking.writer:
        return settings
    written = Questions(run.work, before).written
    return known if any(key in written for key in _states(run, before)) else settings


def _left(run: _Run, published: Questions, why: str) -> str:
    """What is open and what became of it, in words."""
    now = Questions(run.work, run.asking.writer, old=False)
    missing = sum(key not in now.written for key in run.keys)
    if published.writer != now.writer:
        return (
            f"{missing:,} pictures have no questions of {_named(now.writer)} yet ({why}); until all have, those of "
            f"{_named(published.writer)} stay published; the same command goes on with the rest"
        )
    without = run.summary.accounts["pictures_without_questions"]
    what = [f"{without:,} pictures have no questions yet"] if without else []
    if missing > without:
        what.append(f"{missing - without:,} pictures are not asked about again yet and keep the questions they had")
    return f"{' and '.join(what)} ({why}); what is finished is published, the same command goes on with the rest"


def _ask(run: _Run) -> str:
    """Everything that is open; in words why something still is, or nothing."""
    started, asking, summary = time.time(), run.asking, run.summary
    total = run.manifest.accounts["pictures_published"]
    most = 16 if asking.annotator == "served" else 64
    left = Left()
    with open_engine(asking.engine, asking.ray, run.config, run.work, asking.workers, run.progress.say) as engine:
        size = asking.shard_size or max(1, min(most, -(-total // (4 * engine.workers))))
        serving = _serving(run, engine)
        note = serving.note if serving else engine.note
        with run.progress.phase("asking", "pictures", total, note) as counting:

            def done(report: ShardReport) -> None:
                counting.advance(report.pictures)
                for stage, seconds in report.cpu_seconds.items():
                    summary.cpu_seconds[stage] += seconds

            def reused() -> None:
                counting.advance(1, reused=True)
                summary.counts["pictures reused"] += 1

            tasks = _shards(_still_open(run, reused), size)
            if serving is not None:
                serving.questions(tasks, done)
                for _ in tasks:  # not taken in any more: their states count all the same
                    pass
            else:
                for report in engine.map("ask", ((task,) for task in tasks), left.lose):
                    done(report)
    summary.seconds["asking"] = time.time() - started
    return (serving.left if serving is not None else left).why()


def _serving(run: _Run, engine: Engine) -> Serving | None:
    if run.asking.annotator != "served":
        return None
    from pipelines.serving import Serving

    return Serving(run.asking.served, run.asking.model_checks, run.work, engine, run.progress)


def _still_open(run: _Run, reused: Callable[[], None]) -> Iterator[QueryPicture]:
    """Published pictures without questions; notes the states of all of them."""
    for picture in published_pictures(run.folder, run.manifest):
        image = picture.image
        key = picture_key(image, picture.regions, run.asking.writer)
        run.keys.append(key)
        if key in run.questions.written:
            reused()
            continue
        identifier = image["image_id"]
        size_complete = image["width"], image["height"], image["complete"]
        seen = QueryPicture(key, identifier, *size_complete, picture.regions)
        if run.asking.annotator == "served":
            shards = tuple(run.finished.crop_shards(identifier))
            seen = QueryPicture(key, identifier, *size_complete, picture.regions, run.plan.picture(identifier), shards)
        yield seen


def _shards(pictures: Iterator[QueryPicture], size: int) -> Iterator[QueryTask]:
    held: list[QueryPicture] = []
    for picture in pictures:
        held.append(picture)
        if len(held) == size:
            yield QueryTask(held)
            held = []
    if held:
        yield QueryTask(held)
