"""Reading sources into rows of the plan, in worker processes, with file hashes remembered."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.changed import changed_files, mark_read
from pipelines.config import BuildConfig
from pipelines.engines import Engine
from pipelines.journal import Journal
from pipelines.mapped import SMALL, in_order, mapped
from pipelines.plan import PLAN_SCHEMA
from pipelines.progress import Progress
from slvr_data.regions import PictureFile
from slvr_data.remote.artefacts import note_removed
from slvr_data.remote.place import place_of
from slvr_data.sources import open_source
from slvr_data.sources.base import Malformed, PictureMissingError, SourceConfig, Unit
from slvr_data.sources.paths import checked_path

_SAVE_SECONDS = 20.0
_BEFORE = "files.json"
"""Where older versions kept the memory, written whole each time."""
CHUNK = 32
"""Units that a worker reads at a time."""


def read_sources(
    sources: list[SourceConfig],
    config: BuildConfig,
    work: Path,
    engine: Engine,
    progress: Progress,
    cpu_seconds: dict[str, float],
) -> dict[tuple[str, str], pa.Table]:
    """The rows of every source, by (source, annotation file); files without rows are left out.

    Many rows of a file are mapped (`pipelines.mapped`).
    """
    remembered = FileMemory(work)
    remembered.forget(changed_files(work))
    tables: dict[tuple[str, str], _Rows] = defaultdict(_Rows)
    with progress.phase("reading", "rows", None) as counting:
        inputs = ((source.name, units) for source in sources for units in _chunks(source, config, remembered))
        for report in engine.map("read", inputs):
            counting.advance(report.table.num_rows)
            cpu_seconds["read"] += report.cpu_seconds
            remembered.learn(report.source, report.files)
            remembered.save_sometimes()
            for file in set(report.table["file"].to_pylist()):
                mask = pc.equal(report.table["file"], file)
                tables[report.source, file].add(report.table.filter(mask))
    remembered.save()
    mark_read(work, remembered.read_again())
    return {key: rows.in_order() for key, rows in tables.items()}


class _Rows:
    """Rows of one file as they come; beyond `SMALL`, they are mapped."""

    def __init__(self) -> None:
        self._mapped: list[pa.Table] = []
        self._held: list[pa.Table] = []
        self._rows = 0

    def add(self, table: pa.Table) -> None:
        self._held.append(table)
        self._rows += table.num_rows
        if self._rows > SMALL:
            batches = (batch for held in self._held for batch in held.to_batches())
            self._mapped.append(mapped(batches, PLAN_SCHEMA))
            self._held, self._rows = [], 0

    def in_order(self) -> pa.Table:
        """By line: workers answer in any order, and parts of a build compare what they have read."""
        table = pa.concat_tables([*self._mapped, *self._held, PLAN_SCHEMA.empty_table()])
        by_line = pc.sort_indices(table, [("line", "ascending")])
        return in_order(table, by_line.to_numpy().astype(np.int64))


def _chunks(
    source: SourceConfig, config: BuildConfig, remembered: FileMemory
) -> Iterator[list[tuple[Unit, PictureFile | None]]]:
    held: list[tuple[Unit, PictureFile | None]] = []
    rows = 0
    for unit in open_source(source, config.seed, config.follow_links).units(config.limit):
        held.append((unit, remembered.recall(source, unit.path, config.follow_links)))
        rows += len(unit.rows)
        if len(held) >= CHUNK or rows >= 1024:
            yield held
            held, rows = [], 0
    if held:
        yield held


class FileMemory:
    """What files held when they were last read, by path, size and modification time.

    A picture whose file has not changed since is not read again to know its hash.
    """

    def __init__(self, work: Path) -> None:
        self._files = Journal(work / "files.tsv")
        self._saved = time.monotonic()
        self._stamps: dict[tuple[str, str], tuple[str, int, int]] = {}
        self._listed: dict[Path, dict[str, tuple[int, int]]] = {}
        self._forgotten: dict[str, str] = {}
        if (before := work / _BEFORE).exists():
            for path, known in _remembered(before).items():
                self._files[path] = known
            self.save()
            note_removed(work, _BEFORE)
            before.unlink()

    def recall(self, source: SourceConfig, path: str | None, follow_links: bool) -> PictureFile | None:
        """What is known of a picture file, if it is still the same file and may be read."""
        if path is None or source.images is None:
            return None
        try:
            full = checked_path(source.images, path, follow_links)
            size, changed = self._looked_at(source.images, full)
        except (PictureMissingError, OSError):  # the worker that reads the unit says what is wrong
            return None
        stamp = (str(full), size, changed)
        self._stamps[source.name, path] = stamp
        known = self._files.get(stamp[0])
        if not isinstance(known, list) or len(known) != 6 or known[:2] != [stamp[1], stamp[2]]:
            return None
        image_id, size, orientation, problem = known[2:]
        return PictureFile(
            image_id, tuple(size) if size else None, orientation, Malformed(*problem) if problem else None
        )

    def _looked_at(self, root: Path, full: Path) -> tuple[int, int]:
        """(bytes, what changes with the content) of a file; at an address from one listing of the whole root."""
        place = place_of(root)
        if place is None:
            info = full.stat()
            return info.st_size, info.st_mtime_ns
        if root not in self._listed:
            self._listed[root] = place.stamps()
        name = full.relative_to(root).as_posix()
        if name not in self._listed[root]:
            raise FileNotFoundError(name)
        return self._listed[root][name]

    def learn(self, source: str, files: list[tuple[str | None, PictureFile | None]]) -> None:
        """Remember what workers have found."""
        for path, picture in files:
            stamp = self._stamps.pop((source, path), None) if path is not None else None
            if stamp is not None and picture is not None:
                problem = [picture.problem.reason, picture.problem.evidence] if picture.problem else None
                known = [stamp[1], stamp[2], picture.image_id, picture.size, picture.orientation, problem]
                self._files[stamp[0]] = known

    def forget(self, paths: Iterable[str]) -> None:
        """Remember nothing of these files any more (absolute paths): they do not hold what size and time let think."""
        wrong = {path: path for path in paths}
        for known in list(self._files) if wrong else ():
            if path := wrong.get(known) or wrong.get(str(Path(known).absolute())):
                self._forgotten[known] = path
                self._files[known] = None

    def read_again(self) -> list[str]:
        """Those of the forgotten files that were read since."""
        return [path for known, path in self._forgotten.items() if self._files.get(known) is not None]

    def save_sometimes(self) -> None:
        """Write what is new if that was long ago, so that reading that is killed need not be done again."""
        if time.monotonic() - self._saved > _SAVE_SECONDS:
            self.save()

    def save(self) -> None:
        """Write what is new."""
        self._files.write()
        self._saved = time.monotonic()


def _remembered(path: Path) -> dict[str, list[Any]]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):  # nothing, or nothing sound, is remembered: files are read again
        return {}
    return found if isinstance(found, dict) else {}
