"""`--retry-rejected REASON`: what was rejected for its replies is opened again and gets more attempts.

First `retry-STAGE.json` is written: which pictures, and how many attempts beyond the configured ones each request has
in the end. Then attempts are granted, and the pictures are taken out of the finished shards; what they had stays
beside them in shards named `old-...`, which is published until they are finished anew. Killed anywhere, the next run
of the stage goes on with it, whatever its options; a run that leaves nothing open ends it.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipelines.finished import Finished
from pipelines.plan import Plan
from pipelines.questions import Questions
from pipelines.store import OLD, StageStore
from slvr_data.errors import UsageError
from slvr_data.files import write_atomic
from slvr_data.remote.artefacts import note_removed
from slvr_data.requests.config import ServedConfig

_MOST_NAMED = 5
PREFIX = "reply-"
"""Of the reasons that come from replies."""
_STAGES = {"attributes": ["check", "attributes"], "multiquery": ["multiquery"]}
"""From which stores pictures are taken, the last stage first."""


class _Begun(BaseModel):
    """One retry that is not over."""

    model_config = ConfigDict(extra="forbid")

    reason: str
    pictures: list[str]
    """Keys of the states that are opened."""
    attempts: dict[str, int]
    """Request -> attempts beyond the configured ones, those of earlier retries included."""
    opened: bool = False
    """All its pictures have been opened."""


class _Journal(BaseModel):
    """`retry-STAGE.json`."""

    model_config = ConfigDict(extra="forbid")

    retries: list[_Begun] = Field(default_factory=list)


@dataclass
class _Found:
    """What is to be opened."""

    keys: set[str] = field(default_factory=set)
    """States of pictures."""
    requests: set[str] = field(default_factory=set)
    """Requests that get more attempts."""
    reasons: Counter[str] = field(default_factory=Counter)
    """What was rejected for its replies, by reason."""


class Retries:
    """The retries of one stage ("attributes" or "multiquery") that are not over."""

    def __init__(self, work: Path, stage: str, served: ServedConfig, say: Callable[[str], None]) -> None:
        self._work, self._served, self._say = work, served, say
        self._path = work / f"retry-{stage}.json"
        self._stores = [StageStore(work, name) for name in _STAGES[stage]]
        self._what = "regions" if stage == "attributes" else "groups"
        try:
            self._journal = _Journal.model_validate_json(self._path.read_bytes() if self._path.exists() else b"{}")
        except ValidationError as error:
            why = error.errors()[0]["msg"]
            raise UsageError(f"{self._path} is damaged ({why}): remove it, and retry again") from None

    def go_on(self) -> None:
        """Open what a run that was killed was going to open."""
        for number, begun in enumerate(self._journal.retries):
            if not begun.opened:
                self._open(number, begun)

    def begin(self, reason: str, find: Callable[[str], _Found]) -> None:
        """Begin the retry for `reason`, unless it has begun and is not over.

        Raises:
            UsageError: nothing is rejected so.
        """
        found = find(reason)
        begun_before = [begun for begun in self._journal.retries if begun.reason == reason]
        for begun in begun_before:  # what they have opened counts as it was before, until it is finished anew
            found.keys -= set(begun.pictures)
            found.requests -= begun.attempts.keys()
        if begun_before:
            self._say(f"going on with what was rejected as {reason}")
        if begun_before and not found.keys:
            return
        if not found.keys:
            known = ", ".join(f"{name} ({count})" for name, count in found.reasons.most_common(_MOST_NAMED)) or "none"
            raise UsageError(f"no {self._what} are rejected as {reason}; rejected for their replies: {known}")
        with self._requests() as store:
            attempts = {key: store.extra_attempts(key) + self._served.attempts for key in sorted(found.requests)}
        begun = _Begun(reason=reason, pictures=sorted(found.keys), attempts=attempts)
        self._journal.retries.append(begun)
        self._save()
        self._open(len(self._journal.retries) - 1, begun)
        more = f"get {self._served.attempts} more attempts each"
        count = len(found.requests) if begun_before else found.reasons[reason]
        self._say(f"{count} {self._what} rejected as {reason} {more}")

    def over(self) -> None:
        """Nothing is open any more: what pictures had before is not needed, and the next retry is another one."""
        for store in self._stores:
            for shard in store.old_shards():
                store.remove(shard)
        note_removed(self._work, self._path.name)
        self._path.unlink(missing_ok=True)

    def _open(self, number: int, begun: _Begun) -> None:
        """Grant attempts and open pictures; done again, it completes what was done in part."""
        with self._requests() as store:
            for key, total in begun.attempts.items():
                if (missing := total - store.extra_attempts(key)) > 0:
                    store.allow_more(key, missing)
        keys = set(begun.pictures)
        for stage in self._stores:  # everywhere, before anything is taken: what belongs together is found together
            keep_old(stage, keys, number)
        for stage in self._stores:
            without(stage, keys)
        begun.opened = True
        self._save()

    def _requests(self) -> Any:
        from slvr_data.requests.store import RequestStore

        return RequestStore(self._work / "requests", self._served.scratch, self._say)

    def _save(self) -> None:
        write_atomic(self._path, self._journal.model_dump_json(indent=1).encode())


def rejected_profiles(plan: Plan, finished: Finished, reason: str) -> _Found:
    """The pictures with regions that the annotator failed on for `reason`."""
    rows = finished.cache("attributes", "profiles", "picture_key")
    found = _Found()
    for picture in plan.pictures():
        if finished.is_open(picture):
            continue
        for row in rows.rows(finished.profiled[picture.key], picture.key):
            if row["profile"] is None:
                _note(found, picture.key, row["reason"], reason, row["provenance"])
    return found


def rejected_questions(questions: Questions, keys: Iterable[str], reason: str) -> _Found:
    """The pictures with groups whose questions no reply told, for `reason`; `keys` are the current states."""
    found = _Found()
    for key in keys:
        if key in questions.written:
            for row, provenance in questions.unanswered(key):
                _note(found, key, row["reason"], reason, json.dumps(provenance))
    return found


def _note(found: _Found, key: str, its_reason: str, wanted: str, provenance: str | None) -> None:
    if its_reason.startswith(PREFIX):
        found.reasons[its_reason] += 1
    if its_reason == wanted and provenance is not None:
        found.keys.add(key)
        found.requests.update(json.loads(provenance)["request_keys"])


def keep_old(store: StageStore, keys: set[str], number: int) -> None:
    """Copy what a stage's shards hold of pictures, by key, into old shards of retry `number`."""
    for shard, tables, held in _holding(store, keys):
        name = f"{OLD}{number:03d}-{_named(shard, held)}"
        store.commit(name, {name: _filtered(table, keys, held=True) for name, table in tables.items()})


def without(store: StageStore, keys: set[str]) -> None:
    """Take pictures, by key, out of a stage's shards. Killed anywhere, doing it again completes it."""
    for shard, tables, held in _holding(store, keys):
        kept = {name: _filtered(table, keys, held=False) for name, table in tables.items()}
        if kept["pictures"].num_rows:
            store.commit(_named(shard, held), kept)
        store.remove(shard)


def _holding(store: StageStore, keys: set[str]) -> Iterator[tuple[str, dict[str, pa.Table], list[str]]]:
    """(shard, its tables, those of `keys` in it) of each shard that holds any."""
    index = [(shard, found["pictures"]["picture_key"]) for shard, found in store.index({"pictures": ["picture_key"]})]
    for shard, found in index:
        held = sorted(keys.intersection(found))
        if held:
            paths = sorted((store.folder / shard).glob("*.parquet"))
            yield shard, {path.stem: store.load(shard, path.stem) for path in paths}, held


def _named(shard: str, keys: list[str]) -> str:
    return hashlib.sha256("".join([shard, *keys]).encode()).hexdigest()[:16]


def _filtered(table: pa.Table, keys: set[str], held: bool) -> pa.Table:
    found = pc.is_in(table["picture_key"], pa.array(sorted(keys), pa.string()))
    return table.filter(found if held else pc.invert(found))
