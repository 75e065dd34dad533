"""Rows of sources as they were read, a Parquet file per annotation file: `.work/plan/SOURCE/FILE.parquet`."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.changed import forget_read
from pipelines.mapped import read_mapped
from slvr_data.errors import RunError
from slvr_data.files import disk_errors, refuse_unreadable, replace_synced
from slvr_data.remote.artefacts import note_removed
from slvr_data.sources.base import SourceConfig


def partition_path(folder: Path, source: str, file: str) -> Path:
    """Where the rows of one annotation file are kept."""
    return folder / source / f"{hashlib.sha256(file.encode()).hexdigest()[:16]}.parquet"


def save_partitions(folder: Path, tables: dict[tuple[str, str], pa.Table], again: set[tuple[str, str]]) -> None:
    """Write each (source, file)'s rows in place of what was there; of `again` read without rows, none stay."""
    for source, file in again - tables.keys():
        path = partition_path(folder, source, file)
        note_removed(folder.parent, path.relative_to(folder.parent).as_posix())
        path.unlink(missing_ok=True)
    for (source, file), table in tables.items():
        path = partition_path(folder, source, file)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.tmp")
        with disk_errors(f"writing {path}"):
            pq.write_table(table, temporary, compression="zstd")
            replace_synced(temporary, path)
    forget_read(folder.parent)


def load_partitions(
    folder: Path, again: Collection[Path] = (), sources: Sequence[SourceConfig] | None = None
) -> dict[tuple[str, str], pa.Table]:
    """All rows that earlier runs have read, by (source, file).

    `again` are files, and folders of sources, that are read anew in any case: a damaged one is left out. With
    `sources`, those that the set remembers, rows of others are: a run was killed before it could remember theirs.

    Raises:
        RunError: another is damaged, or one cannot be read now.
    """
    tables = {}
    for path in sorted(folder.glob("*/*.parquet")):
        if sources is not None and not _is_of(path, folder, sources):
            continue
        try:
            table = read_mapped(path)
        except (pa.ArrowException, OSError) as error:
            refuse_unreadable(error, path)
            if path not in again and path.parent not in again:
                cure = f"run slvr-data build-attributes with source {path.parent.name} and its annotations again"
                raise RunError(f"{path} is damaged ({error}): {cure}, which reads them anew") from None
            print(f"{path} is damaged ({error}): its rows are taken from its source anew", file=sys.stderr)
            continue
        if table.num_rows:
            tables[table["source"][0].as_py(), table["file"][0].as_py()] = table
    return tables


def _is_of(path: Path, folder: Path, sources: Sequence[SourceConfig]) -> bool:
    files = {source.name: [file.name for file in source.annotations] for source in sources}
    named = files.get(path.parent.name)
    return named is not None and (not named or path in {partition_path(folder, path.parent.name, n) for n in named})
