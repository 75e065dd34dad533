"""`slvr-data merge`: the parts of a build that independent jobs made become one set."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa

from pipelines.avoid_settings import AvoidSettings
from pipelines.build import Summary, make_plan, publish
from pipelines.finished import STAGES, Finished
from pipelines.history import History, history_of
from pipelines.opened import WORK, opened
from pipelines.partitions import load_partitions, partition_path, save_partitions
from pipelines.plan import Plan, check_nothing_lost
from pipelines.republish import check_finished, config_of
from pipelines.settings import Settings, load_settings, reconciled, save_settings
from pipelines.stages.avoid import AVOIDED, COMPARED, uncompared
from pipelines.store import StageStore
from slvr_data.errors import UsageError
from slvr_data.files import folder_atomic, write_atomic
from slvr_data.remote.addresses import address_of
from slvr_data.requests.ledger import Ledger
from slvr_data.sources.base import SourceConfig
from slvr_data.spilled import IdMap


def merge(parts: list[Path], out: Path, images: list[str], unfinished: bool = False) -> dict[str, int]:
    """Take over the finished shards of all parts, check that nothing is missing, publish; the accounts.

    With `unfinished`, what is missing is left out of the publication, and counted.

    Every part has read the whole of the sources, so their plans must be equal.

    Raises:
        UsageError: a folder is not a part, parts were built differently, some are missing, or the set in `out` avoids
            pictures that they do not.
    """
    settings = _common_settings(parts)
    plans = _rows_of(parts[0])
    for part in parts[1:]:
        others = _rows_of(part)
        if plans.keys() != others.keys() or any(not plans[key].equals(others[key]) for key in plans):
            raise UsageError(f"{parts[0]} and {part} have read different rows: build all parts from the same sources")
    with opened(out) as (work, progress):
        known, count, avoid = load_settings(work), settings.parts, settings.avoid
        _refuse_less(known.avoid if known is not None else None, avoid, out)
        settings.sources = _placed(settings.sources, images)
        settings = reconciled(config_of(settings, out), known, has_work=known is not None)
        settings.avoid = avoid
        if known is not None:
            settings.publish = known.publish
        anew = {partition_path(work / "plan", *key) for key in plans}
        before = load_partitions(work / "plan", anew, settings.sources)
        history = history_of(out, work)
        check_nothing_lost(before, before | plans, history.given_up)
        save_settings(work, settings)  # first: a merge that is stopped goes on with these parts, not with others
        for part in parts:
            _take_over(part / WORK, work)
        _take_in_costs(parts, work)
        save_partitions(work / "plan", plans, set())
        config = config_of(settings, out)
        plan = make_plan(config, before | plans, history)
        finished = Finished(work)
        if known is not None and plan.choice is not None and not unfinished:
            _check_choice(plan, make_plan(config, plans, History()), finished, out)
        check_finished(plan, finished, out, count, anyway=unfinished)
        if avoid is not None and not unfinished:
            _check_compared(avoid, work, out)
        summary = Summary()
        publish(config, settings, work, plan, history, progress, summary, finished=finished)
    return summary.accounts


def _rows_of(part: Path) -> dict[tuple[str, str], pa.Table]:
    settings = load_settings(part / WORK)
    assert settings is not None
    return load_partitions(part / WORK / "plan", sources=settings.sources)


def _common_settings(parts: list[Path]) -> Settings:
    """The first part's, with the largest n of all `--shard i/n`."""
    first: Settings | None = None
    for part in parts:
        settings = load_settings(part / WORK)
        if settings is None:
            raise UsageError(f"{part} is not a part: build it with slvr-data build-attributes --shard i/n --out {part}")
        if settings.avoid is not None and not settings.avoid.index:
            raise UsageError(f"{part} was stopped before it compared its pictures with what is avoided: run it again")
        if first is not None and settings.data != first.data:
            changed = sorted(key for key in first.data | settings.data if first.data.get(key) != settings.data.get(key))
            raise UsageError(f"{parts[0]} and {part} were built with different settings: {changed[0]}")
        if first is not None and (settings.avoid and settings.avoid.index) != (first.avoid and first.avoid.index):
            raise UsageError(f"{parts[0]} and {part} avoid different pictures: build all parts with the same --avoid")
        first = first or settings
        first.parts = max(first.parts, settings.parts)
    assert first is not None
    return first


def _check_choice(plan: Plan, of_parts: Plan, finished: Finished, out: Path) -> None:
    """What is published stays chosen, and parts do not know of it: where they have chosen other regions of a picture,
    nobody would ever finish it. Raises UsageError.
    """
    theirs = IdMap()
    for picture in of_parts.pictures():
        theirs[picture.image_id] = picture.key
    missing = (picture for picture in plan.pictures() if finished.open_work(picture) is not None)
    if others := sum(theirs.get(picture.image_id) != picture.key for picture in missing):
        raise UsageError(
            f"{out}: of {others} pictures the parts have taken other regions than this set, which keeps what it has "
            f"published (regions.most_per_picture, regions.limit): build on with build-attributes --out {out}, or "
            "merge all parts into a new folder"
        )


def _refuse_less(before: AvoidSettings | None, now: AvoidSettings | None, out: Path) -> None:
    """What a set avoids, its new parts avoid too, and perhaps more. Raises UsageError."""
    given = now.given if now is not None else []
    paths = {known.path for known in given}
    alike = {(known.name, known.pictures, known.unreadable) for known in given}
    for known in before.given if before is not None else ():
        if known.path not in paths and (known.name, known.pictures, known.unreadable) not in alike:
            raise UsageError(
                f"{out} avoids the pictures of {known.path}, and the parts do not: build all parts with the same "
                f"--avoid, or give that up first with slvr-data build-attributes ... --out {out} --avoid none"
            )


def _check_compared(avoid: AvoidSettings, work: Path, out: Path) -> None:
    """Raises UsageError where pictures ended their workers while they were compared with what is avoided."""
    if missing := len(uncompared(StageStore(work, COMPARED), avoid.index)):
        raise UsageError(
            f"{out}: {missing} pictures have ended every worker that compared them with what is avoided: run their "
            "parts again, or merge with --unfinished to publish without these pictures"
        )


def _placed(sources: list[SourceConfig], images: list[str]) -> list[SourceConfig]:
    """The sources with their pictures where `NAME=DIR` says they lie on this machine."""
    places = dict(text.partition("=")[::2] for text in images)
    unknown = sorted(places.keys() - {source.name for source in sources})
    if unknown:
        names = ", ".join(source.name for source in sources)
        raise UsageError(f"--images {unknown[0]}=...: the parts have no source of that name, only {names}")
    for name, folder in places.items():
        if address_of(folder) is None and not Path(folder).is_dir():
            raise UsageError(f"--images {name}={folder}: that is not a folder")
    return [
        source.model_copy(update={"images": _full(places[source.name])}) if source.name in places else source
        for source in sources
    ]


def _full(folder: str) -> Path:
    return Path(folder) if address_of(folder) else Path(folder).absolute()


def _take_over(source: Path, work: Path) -> None:
    """Copy the shards and the replies of a served model that are not there yet, each file whole or not at all."""
    for stage in (*STAGES, AVOIDED, COMPARED):
        for shard in sorted((source / stage).iterdir() if (source / stage).is_dir() else ()):
            if shard.is_dir() and not shard.name.startswith(".") and not (work / stage / shard.name).exists():
                with folder_atomic(work / stage / shard.name) as folder:
                    shutil.copytree(shard, folder, dirs_exist_ok=True)
    replies = Path("requests") / "segments"  # a name tells its content: what a part was answered is not asked again
    for segment in sorted((source / replies).glob("[0-9]*.parquet")):
        if not (work / replies / segment.name).exists():
            (work / replies).mkdir(parents=True, exist_ok=True)
            write_atomic(work / replies / segment.name, segment.read_bytes())


def _take_in_costs(parts: list[Path], work: Path) -> None:
    """What the parts' calls have cost is the set's cost too; merged again, each part counts once."""
    files = {part: part / WORK / "requests" / "ledger.json" for part in parts}
    if not any(file.exists() for file in files.values()):
        return
    with Ledger(work / "requests" / "ledger.json") as ledger:
        for part, file in files.items():
            identity = file.with_name("identity")
            if file.exists() and file.resolve() != (work / "requests" / "ledger.json").resolve():
                ledger.take_in(file, identity.read_text().strip() if identity.exists() else str(part.resolve()))
