"""`--avoid`: which pictures must not be in train, and which of the set's pictures they are.

What is avoided is read in chunks (store `avoided`), becomes one index (`avoid-index/HASH`), and every picture of the
plan is compared with it (store `compared`). What was read and compared stays, so a run that was killed goes on there,
and a folder that has changed is read again where it has. The set remembers what it avoids: later runs need not name it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.avoid_settings import AvoidedGiven, AvoidSettings
from pipelines.finished import shards
from pipelines.left import Left
from pipelines.plan import Plan
from pipelines.stages.avoid import AVOIDED, COMPARED, INDEXES, compared_with, lost_pictures, note_lost
from pipelines.stages.pieces import described_chunk, is_there, whole_chunks
from pipelines.store import StageStore
from pipelines.tasks import ShardTask, TaskPicture
from slvr_data.avoid.features import method, require
from slvr_data.avoid.given import Chunk, Given, counted, names_of, open_given, placed
from slvr_data.avoid.index import write_index
from slvr_data.avoid.reading import described_of
from slvr_data.errors import UsageError
from slvr_data.ids import part_of
from slvr_data.spilled import IdSet

if TYPE_CHECKING:
    from pipelines.config import BuildConfig
    from pipelines.engines import Engine
    from pipelines.engines.lost import WorkerLostError
    from pipelines.progress import Progress

NONE = "none"
"""`--avoid none`: avoid nothing from now on."""
_MOST_NAMED = 5
_SHARD = 64
"""Pictures that are compared by one call, at most."""


@dataclass(frozen=True)
class _Part:
    """Something given: its chunks to read, or where its folder is gone, the shards that are left of it."""

    path: str
    chunks: tuple[Chunk, ...]
    shards: tuple[str, ...]

    @property
    def names(self) -> list[str]:
        """The shards of the store `avoided` with its pictures, in order."""
        return list(self.shards) or [chunk.name for chunk in self.chunks]


@dataclass(frozen=True)
class Comparing:
    """What a run compares, and with whose help."""

    config: BuildConfig
    plan: Plan
    work: Path
    engine: Engine
    progress: Progress
    cpu_seconds: dict[str, float]
    """Per stage; what is spent here is added."""
    left: Left
    """Is told of pictures that end every worker which compares them."""


class Avoiding:
    """The work for `--avoid` of one run."""

    def __init__(
        self, told: list[str] | None, known: AvoidSettings | None, out: Path, say: Callable[[str], None]
    ) -> None:
        """`told` is what this run names, `known` what the set avoided before: both hold, unless `NONE` is told.

        Raises:
            UsageError: OpenCV is missing, or something that is avoided holds no pictures, or the set itself, or is a
                part of it.
        """
        self._say = say
        self._known = known
        self._index: str | None = None
        self._parts: list[_Part] = []
        if told and NONE in told:
            if len(told) > 1:
                raise UsageError(f"--avoid {NONE} means that nothing is avoided any more: give it alone")
            return
        if told or known:
            require()
            remembered = [before.path for before in (known.given if known else ())]
            for name in [*(told or ()), *(path for path in remembered if Path(path).exists())]:
                _refuse_itself(name, out)
            self._parts = self._opened(told or [])

    @property
    def anew(self) -> bool:
        """Whether the set avoids other pictures than before; known once `looked` has been through."""
        before = self._known.index if self._known is not None else None
        return before != self._index

    def _opened(self, told: list[str]) -> list[_Part]:
        found = {given.path: given for given in map(open_given, told)}
        gone = []
        for before in self._known.given if self._known else ():
            if str(placed(before.path)) in found:
                continue
            if Path(before.path).exists():
                again = open_given(before.path)
                found[again.path] = again
            else:
                self._say(f"avoided {before.path} is not there any more: what was read of it before is used")
                gone.append(_Part(before.path, (), tuple(before.chunks)))
        for given in found.values():
            self._tell_passed_over(given)
        parts = [*map(_part, found.values()), *gone]
        names = names_of(part.path for part in parts)
        return sorted(parts, key=lambda part: names[part.path])  # not by paths: machines mount folders elsewhere

    def _tell_passed_over(self, given: Given) -> None:
        """Say which tables are taken to hold no pictures, and how many files nobody looks into."""
        if given.without:
            more = len(given.without) - _MOST_NAMED
            names = ", ".join(given.without[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
            self._say(f"in avoided {given.path}, tables without a column of pictures are passed over: {names}")
        if given.passed_over:
            self._say(
                f"in avoided {given.path}, files that by their names are neither pictures nor tables are passed over: "
                f"{counted(given.passed_over)}"
            )

    def intended(self) -> AvoidSettings | None:
        """What the settings say until `looked` has been through: where more is to be avoided, nothing is published."""
        before = {given.path for given in self._known.given} if self._known else set()
        if not self._parts or {part.path for part in self._parts} <= before:
            return self._known if self._parts else None
        names = names_of(part.path for part in self._parts)
        given = [
            AvoidedGiven(path=part.path, name=names[part.path], chunks=part.names, pictures=0, unreadable=0)
            for part in self._parts
        ]
        return AvoidSettings(index="", method=method(), given=given)

    def looked(self, run: Comparing) -> AvoidSettings | None:
        """Compare every picture of this run's part; what the set avoids now.

        Raises:
            UsageError: of something that is avoided, not one picture can be read.
        """
        if not self._parts:
            return None
        store = StageStore(run.work, AVOIDED)
        store.clean()
        self._describe(store, run)
        settings = self._indexed(store, run.work)
        if self._known is not None and self._known.index not in ("", settings.index):
            self._say("what is avoided has changed: all pictures are compared again")
        self._index = settings.index
        _compare(settings.index, run)
        return settings

    def _describe(self, store: StageStore, run: Comparing) -> None:
        """Read the chunks that have not been read yet."""
        wanted = {chunk.name: chunk for part in self._parts for chunk in part.chunks}
        sound = whole_chunks(store, wanted)
        chunks = {name: chunk for name, chunk in wanted.items() if name not in sound}
        missing = [part.path for part in self._parts for shard in part.shards if shard not in sound]
        if missing:
            raise UsageError(
                f"avoided {missing[0]} is gone, and so is what was read of it: give it again with --avoid, or "
                f"--avoid {NONE}"
            )
        if not chunks:
            return
        with run.progress.phase("reading what is avoided", "pictures", None) as counting:
            for report in run.engine.map("describe_avoided", ((chunk,) for chunk in chunks.values())):
                counting.advance(report.pictures)
                run.cpu_seconds["avoid"] += report.cpu_seconds

    def _indexed(self, store: StageStore, work: Path) -> AvoidSettings:
        """The index over everything given; written where there is none."""
        names = names_of(part.path for part in self._parts)
        given: list[AvoidedGiven] = []
        digest = hashlib.sha256(method().encode())
        for part in self._parts:
            pictures: dict[str, None] = {}
            unreadable: list[dict[str, Any]] = []
            for row in _rows(store, part.names, ["name", "sha256", "problem"]):
                digest.update(json.dumps([names[part.path], row["name"], row["sha256"]]).encode())
                if row["sha256"] is None:
                    unreadable.append(row)
                else:
                    pictures[row["sha256"]] = None
            self._tell(part.path, len(pictures), unreadable)
            given.append(
                AvoidedGiven(
                    path=part.path,
                    name=names[part.path],
                    chunks=part.names,
                    pictures=len(pictures),
                    unreadable=len(unreadable),
                )
            )
        settings = AvoidSettings(index=digest.hexdigest(), method=method(), given=given)
        write_missing_index(settings, store, work)
        return settings

    def _tell(self, path: str, pictures: int, unreadable: list[dict[str, Any]]) -> None:
        """Say what cannot be kept out."""
        if not pictures and not unreadable:
            raise UsageError(
                f"--avoid {path} holds no pictures, only empty rows: of a set published by reference, restore them "
                "with slvr-data attach"
            )
        if not unreadable:
            return
        first = f"the first: {unreadable[0]['name']}: {unreadable[0]['problem']}"
        if not pictures:
            raise UsageError(f"--avoid {path}: not one of its {len(unreadable)} pictures can be read ({first})")
        self._say(
            f"{len(unreadable)} of {pictures + len(unreadable)} pictures in avoided {path} cannot be read, and are NOT "
            f"kept out ({first}); all of them: slvr-data avoided"
        )


def _part(given: Given) -> _Part:
    return _Part(given.path, given.chunks, ())


def _refuse_itself(name: str, out: Path) -> None:
    """What holds the set, or lies in it, would empty it. Raises UsageError."""
    if "://" in name:  # it is refused anyway
        return
    ours, avoided = out.resolve(), Path(name).resolve()
    if avoided == ours:
        raise UsageError(f"--avoid {name} is the set itself: name what it must not hold")
    if avoided in ours.parents or ours in avoided.parents:
        how = "holds" if avoided in ours.parents else "is a part of"
        raise UsageError(
            f"--avoid {name} {how} the set itself ({out}), which would empty it: name what it must not hold, or "
            f"--avoid {NONE} where that is remembered"
        )


def _rows(store: StageStore, chunks: Iterable[str], columns: list[str] | None = None) -> Iterator[dict[str, Any]]:
    for chunk in chunks:
        yield from described_chunk(store, chunk, columns)


def write_missing_index(settings: AvoidSettings, store: StageStore, work: Path) -> None:
    """Write the index from what was read, where it is not there."""
    folder = work / INDEXES / settings.index
    if folder.exists():
        return
    shutil.rmtree(work / INDEXES, ignore_errors=True)  # that of what was avoided before
    write_index(
        folder,
        (
            described_of(row, known.name)
            for known in settings.given
            for row in _rows(store, known.chunks)
            if row["sha256"] is not None
        ),
    )


def unreadable_rows(settings: AvoidSettings, work: Path) -> Iterator[dict[str, Any]]:
    """Avoided pictures that cannot be read: given, name, problem.

    Raises:
        UsageError: a build was stopped while it read some of them again.
    """
    store = StageStore(work, AVOIDED)
    for known in settings.given:
        if not all(is_there(store, chunk) for chunk in known.chunks):
            raise UsageError(f"what was read of avoided {known.path} is not there any more: run the build again")
        for row in _rows(store, known.chunks, ["name", "sha256", "problem"]):
            if row["sha256"] is None:
                yield {"given": known.name, "name": row["name"], "problem": row["problem"]}


def _compare(index: str, run: Comparing) -> None:
    """Compare the pictures of this run's part that have not been compared with this index yet.

    Those that have ended workers before they came here would end them here too.
    """
    store = StageStore(run.work, COMPARED)
    store.clean()
    done = _compared(store, index)
    part, parts = run.config.part
    mine = [image_id for image_id in run.plan.image_ids if part_of(image_id, parts) == part]
    size = run.config.shard_size or max(1, min(_SHARD, -(-len(mine) // (4 * run.engine.workers))))
    with run.progress.phase("comparing with what is avoided", "pictures", len(mine), run.engine.note) as counting:

        def still_open() -> Iterator[TaskPicture]:
            for picture in run.plan.pictures():
                if part_of(picture.image_id, parts) != part:
                    continue
                if picture.image_id in done or all(region.rejected is not None for region in picture.regions):
                    counting.advance(1, reused=True)
                    continue
                task = TaskPicture(picture, prepare=False, crop=frozenset(), dropped=frozenset(), annotate=False,
                                   profiled_in=None)  # fmt: skip
                if picture.image_id in run.left.lost:
                    counting.advance(1, reused=True)
                    note_lost(ShardTask([task]), index, store)
                else:
                    yield task

        def lost(task: ShardTask, error: WorkerLostError) -> None:
            note_lost(task, index, store)
            run.left.lose(task, error)

        for report in run.engine.map("compare_avoided", ((task, index) for task in shards(still_open(), size)), lost):
            counting.advance(report.pictures)
            run.cpu_seconds["avoid"] += report.cpu_seconds
    for shard in store.shards():
        if not shard.startswith(index[:12]):
            store.remove(shard)


def _compared(store: StageStore, index: str) -> IdSet:
    """Pictures that have been compared with an index; what was lost before is tried again."""
    for shard in set(lost_pictures(store, index).values()):
        store.remove(shard)
    done, wanted = IdSet(), set(compared_with(store, index))
    for shard, found in store.index({"looks": ["image_id"]}):
        if shard in wanted:
            done.update(found["looks"]["image_id"])
    return done
