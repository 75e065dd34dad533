"""What a set was built with, remembered in its working folder, so that a set can grow but not change."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from pipelines.avoid_settings import AvoidSettings
from pipelines.config import BuildConfig, PublishConfig
from slvr_data.embeddings import EmbeddingModel
from slvr_data.errors import UsageError
from slvr_data.files import write_atomic
from slvr_data.remote.addresses import address_of
from slvr_data.sources.base import SourceConfig

_LIMIT = "regions.limit"
"""The one setting among those that decide data that may grow with the set."""


class Settings(BaseModel):
    """`.work/settings.json`."""

    model_config = ConfigDict(extra="forbid")

    data: dict[str, Any]
    """Settings that decide data; they stay as they are, `regions.limit` apart, which may grow."""
    sources: list[SourceConfig]
    """All sources that the set has taken in, with where they were last found."""
    publish: PublishConfig = Field(default_factory=PublishConfig)
    """How the set is published, until told otherwise."""
    multiquery: bool = False
    """Whether `build-multiquery` has been run: publications then hold its questions."""
    question_writer: str | None = None
    """Who wrote them (`pipelines.asking_config.AskingConfig.writer`); null where it is not remembered."""
    embeddings: EmbeddingModel | None = None
    """Of which model publications hold embeddings (`slvr-data embed`), if any."""
    avoid: AvoidSettings | None = None
    """Which pictures are kept out of train (`--avoid`), if any."""
    parts: int = 1
    """Of how many parts the last run did one (the n of `--shard i/n`)."""


def load_settings(work: Path) -> Settings | None:
    """The settings of the set, or None for a new one."""
    path = work / "settings.json"
    if not path.exists():
        return None
    try:
        return Settings.model_validate_json(path.read_bytes())
    except ValueError as error:
        raise UsageError(f"{path} is damaged ({' '.join(str(error).split())[:120]}): build into a new folder") from None


def save_settings(work: Path, settings: Settings) -> None:
    """Write them whole."""
    write_atomic(work / "settings.json", (json.dumps(settings.model_dump(mode="json"), indent=1) + "\n").encode())


def reconciled(config: BuildConfig, known: Settings | None, has_work: bool) -> Settings:
    """The settings of the set after this run.

    Raises:
        UsageError: the run asks for a change that would alter data that is already made.
    """
    sources = [_absolute(source) for source in config.sources]
    if known is None or not has_work:
        return Settings(
            data=config.affects_data(), sources=_sorted(sources), publish=config.publish, parts=config.part[1]
        )
    data = _with_more(known.data, config.affects_data())
    _refuse_changes(data, config.affects_data(), config.out, "")
    before = {source.name: source for source in known.sources}
    for source in sources:
        old = before.get(source.name)
        if old is not None:
            _refuse_changes(old.affects_data(), source.affects_data(), config.out, f"source {source.name}: ")
            source = _joined(old, source)
        before[source.name] = source
    told = {key: getattr(config.publish, key) for key in config.publish.model_fields_set}
    publish = known.publish if "publish" not in config.model_fields_set else known.publish.changed(told)
    sources = _sorted(before.values())
    return known.model_copy(update={"data": data, "sources": sources, "publish": publish, "parts": config.part[1]})


def _with_more(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """The settings of the set, with the limit that the run names where that is larger."""
    old, new = before.get(_LIMIT), after.get(_LIMIT)
    return before if old is None or new is None or new < old else before | {_LIMIT: new}


def _sorted(sources: Any) -> list[SourceConfig]:
    return sorted(sources, key=lambda source: source.name)


def _absolute(source: SourceConfig) -> SourceConfig:
    return source.model_copy(
        update={
            "annotations": sorted((file.absolute() for file in source.annotations), key=lambda file: file.name),
            "images": source.images.absolute() if source.images and not address_of(source.images) else source.images,
        }
    )


def _joined(old: SourceConfig, new: SourceConfig) -> SourceConfig:
    """A source that is told again: files it had before stay, unless the same name stands elsewhere now."""
    if old.images and new.images and old.images != new.images and old.images.is_dir():
        raise UsageError(
            f"source {new.name} has its pictures in {old.images}, not in {new.images}: name the new one apart, in a "
            "--config file or with --set sources.0.name=NAME"
        )
    names = {file.name for file in new.annotations}
    kept = [file for file in old.annotations if file.name not in names]
    return new.model_copy(update={"annotations": sorted([*kept, *new.annotations], key=lambda file: file.name)})


def _refuse_changes(before: dict[str, Any], after: dict[str, Any], out: Path, where: str) -> None:
    changed = [key for key in sorted(before.keys() | after.keys()) if before.get(key) != after.get(key)]
    if changed:
        key = changed[0]
        raise UsageError(
            f"{where}this set was built with {key} = {before.get(key)!r}, now it is {after.get(key)!r}: a set "
            f"keeps the settings that decide its data; use the old value, or another folder than {out}"
        )
