"""`slvr-data publish`: the finished work of a set, published in another form."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from pipelines.build import STAGING, Summary, make_plan, publish
from pipelines.config import PROMPT_VERSIONS, BuildConfig, PublishConfig
from pipelines.finished import Finished
from pipelines.history import history_of
from pipelines.opened import WORK, opened
from pipelines.partitions import load_partitions
from pipelines.plan import Plan
from pipelines.settings import Settings, load_settings, save_settings
from slvr_data.errors import UsageError
from slvr_data.files import is_leftover, remove_leftovers
from slvr_data.ids import part_of
from slvr_data.manifest import NAME, load_manifest


def republish(folder: Path, changes: dict[str, Any], to: Path | None) -> dict[str, int]:
    """Publish again with `changes` to the form, or in that form into the folder `to`; the accounts.

    Raises:
        UsageError: the folder has no working files, its work is not finished, or a value does not fit.
    """
    if not (folder / WORK).is_dir():
        raise UsageError(f"{folder} has no working files ({WORK}): publish from the folder that the set was built in")
    if to is not None:
        _make_empty(to)
    with opened(folder) as (work, progress):
        settings = known_settings(folder, work)
        settings = settings.model_copy(update={"publish": _changed(settings.publish, changes)})
        config = config_of(settings, folder)
        history = history_of(folder, work)
        plan = make_plan(config, load_partitions(work / "plan", sources=settings.sources), history)
        finished = Finished(work)
        check_finished(plan, finished, folder, settings.parts)
        if to is None:
            save_settings(work, settings)
        summary = Summary()
        publish(config, settings, work, plan, history, progress, summary, to, finished)
    return summary.accounts


def known_settings(folder: Path, work: Path) -> Settings:
    """The settings that the set was built with.

    Raises:
        UsageError: it has not been built.
    """
    settings = load_settings(work)
    if settings is None:
        raise UsageError(f"{folder}: nothing has been built yet; run slvr-data build-attributes")
    return settings


def _make_empty(to: Path) -> None:
    """A folder to publish into, new or empty but for what a killed publication left: that alone is removed."""
    try:
        to.mkdir(parents=True, exist_ok=True)
        if any(path.name != STAGING and not is_leftover(path) for path in to.iterdir()):
            raise UsageError(f"--to {to} is not empty: name a new folder")
        remove_leftovers(to)
    except OSError as error:
        raise UsageError(f"--to {to} cannot be made: {error.strerror}") from None


def _changed(before: PublishConfig, changes: dict[str, Any]) -> PublishConfig:
    wanted = {key: value for key, value in changes.items() if value is not None}
    if wanted.get("licenses") == ["all"]:
        wanted["licenses"] = None
    elif not wanted.get("licenses"):
        wanted.pop("licenses", None)
    return before.changed(wanted)


def config_of(settings: Settings, out: Path) -> BuildConfig:
    """The configuration that made a set, from what the set remembers."""
    tree: dict[str, Any] = {"out": out, "sources": settings.sources, "publish": settings.publish}
    for key, value in settings.data.items():
        if key == "schema_version" or PROMPT_VERSIONS in key:
            continue
        node = tree
        *path, last = key.split(".")
        for part in path:
            node = node.setdefault(part, {})
        node[last] = value
    return BuildConfig.model_validate(tree)


def check_finished(plan: Plan, finished: Finished, folder: Path, parts: int, anyway: bool = False) -> None:
    """Refuse to publish while work is open, unless `anyway`; `parts` is the n of `--shard i/n`, 1 without.

    A set that was published with unfinished regions stays so, and it is said.

    Raises:
        UsageError: saying how much, in which parts, and how to finish it; or that nothing has been read.
    """
    if not plan.accounts["rows"]:
        raise UsageError(f"{folder}: nothing has been read yet; run slvr-data build-attributes")
    missing = [picture.image_id for picture in plan.pictures() if finished.open_work(picture) is not None]
    if missing and (anyway or _unfinished_before(folder)):
        print(f"{len(missing)} of {len(plan.image_ids)} pictures are not finished: going on without", file=sys.stderr)
    elif missing:
        where = ", ".join(f"{part}/{parts}" for part in sorted({part_of(image_id, parts) for image_id in missing}))
        cure = (
            f"finish and merge the parts --shard {where}, or merge with --unfinished to publish without these pictures"
            if parts > 1
            else "run the build again"
        )
        raise UsageError(f"{folder}: {len(missing)} of {len(plan.image_ids)} pictures are not finished: {cure}")


def _unfinished_before(folder: Path) -> bool:
    return (folder / NAME).exists() and "regions_unfinished" in load_manifest(folder).accounts
