"""Rows of tables of others - TSV, Parquet and Arrow files, or folders of them - whose pictures stand in their rows."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchmark.imported_forms import COLUMNS, PICTURES, FaultError, in_our_words
from benchmark.imported_pictures import Pictures
from benchmark.imported_rows import Row, RowQuery, Told, separated_rows
from slvr_data.errors import UsageError
from slvr_data.tables import REFERENCE, arrow_file, from_base64, picture_columns, tsv_column

SUFFIXES = (".parquet", ".arrow", ".tsv")
_OTHERS = {".json", ".jsonl", ".csv"}
_SHARD = re.compile(r"-\d{5}-of-\d{5}$")
_OURS = {"conversations", *Row.model_fields, *RowQuery.model_fields} - {"queries", "turn"}
_LONGEST_PATH = 4096
_BATCH = 8
"""Rows of a Parquet file that are in memory at a time."""


def tables_of(told: Path, split: str | None) -> list[Path]:
    """The files of a table: itself, or those below a folder, in order.

    Args:
        told: a file, a data set that `save_to_disk` wrote, or a downloaded one.
        split: its part, where a folder has several.

    Raises:
        UsageError: it has no tables, or several parts and none is named, or not this one; parts are named.
    """
    if not told.is_dir():
        if split is not None:
            raise UsageError(f"--split {split} names a part of a folder; {told} is a file: leave it out")
        return [told]
    parts: dict[str, list[Path]] = {}
    others: list[str] = []
    for folder, folders, files in os.walk(told):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            path = Path(folder, name)
            if path.suffix.lower() in SUFFIXES and not name.startswith((".", "cache-")):
                parts.setdefault(_part(path.relative_to(told)), []).append(path)
            elif path.suffix.lower() in _OTHERS:
                others.append(path.relative_to(told).as_posix())
    if not parts:
        cure = f": name one of its files ({', '.join(others[:5])})" if others else ""
        raise UsageError(f"{told} has no Parquet, Arrow or TSV files{cure}")
    return _chosen(told, parts, split)


def _part(relative: Path) -> str:
    """The part of a data set that a file belongs to, by its name: "test" of data/test-00000-of-00001.parquet."""
    names = [*relative.parts[:-1], _SHARD.sub("", relative.stem)]
    for place in (0, -1):
        if len(names) > 1 and names[place] == "data":
            del names[place]
    return "/".join(names)


def _chosen(told: Path, parts: dict[str, list[Path]], split: str | None) -> list[Path]:
    names = ", ".join(sorted(parts))
    if split is None and len(parts) > 1:
        raise UsageError(f"{told} has several parts ({names}): name one with --split")
    part = split if split is not None else next(iter(parts))
    if part not in parts:
        raise UsageError(f"--split {part}: {told} has {names}")
    files = parts[part]
    if len({file.suffix.lower() for file in files}) > 1:
        both = ", ".join(file.relative_to(told).as_posix() for file in files)
        raise UsageError(f"{told} has {part} in several forms ({both}): name one of these files")
    return files


class TableRows:
    """The rows of a table's files, under our names; `unused` tells the columns that nothing is asked about."""

    def __init__(self, files: Sequence[Path], pictures: Pictures) -> None:
        self._files, self._pictures = files, pictures
        self.unused: set[str] = set()

    @property
    def unit(self) -> str:
        """What the number of a row counts."""
        return "line" if len(self._files) == 1 and self._files[0].suffix.lower() == ".tsv" else "row"

    def __iter__(self) -> Iterator[Told]:
        """Each row with its number, over all files where there are several.

        Raises:
            UsageError: a file as a whole cannot be read, or has no column of pictures.
        """
        told = (row for file in self._files for row in self._of_file(file))
        for place, (number, tree) in enumerate(told, 1):
            number = number if self.unit == "line" else place
            try:
                yield number, tree if isinstance(tree, FaultError) else self._row(number, tree)
            except FaultError as fault:
                yield number, fault

    def _of_file(self, file: Path) -> Iterator[Told]:
        """Rows with their picture under "image", whatever its column is called."""
        if not file.is_file():
            raise UsageError(f"{file} is not a file")
        names, column, rows = _OPENED[file.suffix.lower()](file)
        self.unused |= set(names) - COLUMNS - {column}
        for number, tree in rows:
            if column not in PICTURES and isinstance(tree, dict) and column in tree:
                tree["image"] = tree.pop(column)
            yield number, tree

    def _row(self, number: int, told: dict[str, Any]) -> dict[str, Any]:
        """A row in our words, its picture by a name.

        Raises:
            FaultError: its picture or its choices will not do.
        """
        tree = in_our_words({name: value for name, value in told.items() if value is not None and name in COLUMNS})
        tree.setdefault("id", f"row-{number}")
        if isinstance(tree.get("bbox"), list) and any(isinstance(one, list) for one in tree["bbox"]):
            self.unused.add("bbox")  # boxes of several things
            del tree["bbox"]
        if "image" in tree:
            tree["image"] = self._named_picture(tree["image"])
            self._pictures.note(str(told.get("index", tree["id"])), tree["image"])
        return {name: value for name, value in tree.items() if name in _OURS}

    def _named_picture(self, value: Any) -> str:
        """The name of a picture: kept where the row holds it, else a path or another row's index."""
        if isinstance(value, list):
            if len(value) != 1:
                raise FaultError("pictures-number", f"the row has {len(value)} pictures: an item is about one")
            return self._named_picture(value[0])
        if isinstance(value, dict):
            value = value.get("bytes") if value.get("bytes") is not None else value.get("path")
        if isinstance(value, bytes):
            return self._pictures.keep(value)
        if isinstance(value, int):
            return str(value)
        if not isinstance(value, str) or not value.strip():
            raise FaultError("picture-missing", "the row has neither a picture nor the name of one")
        if len(value) <= REFERENCE:
            return value
        data = from_base64(value)
        if data is not None:
            return self._pictures.keep(data)
        if len(value) > _LONGEST_PATH or value.lstrip().startswith("["):
            raise FaultError("picture-unreadable", f"a text of {len(value):,} characters is no base64 of one picture")
        return value


def _named(file: Path, names: Sequence[str], detected: Callable[[], list[str]]) -> str:
    """The column with the picture: by its name, or the only one that holds some."""
    for name in PICTURES:
        if name in names:
            return name
    found = detected()
    if len(found) == 1:
        return found[0]
    what = f"several columns of pictures ({', '.join(found)})" if found else "no column of pictures"
    raise UsageError(f"{file} has {what} among {', '.join(names)[:300]}: call the one that is asked about image")


_Opened = tuple[Sequence[str], str, Iterator[Told]]
"""The names of a file's columns, that of its pictures, and its rows."""


def _tsv(file: Path) -> _Opened:
    with file.open(encoding="utf-8-sig", errors="replace", newline="") as stream:
        names = stream.readline().rstrip("\r\n").replace('"', "").split("\t")

    def detected() -> list[str]:
        try:
            found = tsv_column(file)
        except ValueError as error:
            raise UsageError(f"{file} cannot be read as TSV in UTF-8: {error}") from None
        return [found] if found else []

    return names, _named(file, names, detected), separated_rows(file, "\t")


def _arrow(file: Path) -> _Opened:
    with _readable(file), arrow_file(file) as reader:
        names = reader.schema.names
        column = _named(file, names, lambda: picture_columns(reader.schema, iter(reader)))

    def rows() -> Iterator[Told]:
        with _readable(file), arrow_file(file) as reader:
            yield from _records(reader, column)

    return names, column, rows()


def _parquet(file: Path) -> _Opened:
    with _readable(file), pq.ParquetFile(file) as table:
        names, schema = table.schema_arrow.names, table.schema_arrow
        column = _named(file, names, lambda: picture_columns(schema, table.iter_batches(batch_size=_BATCH)))

    def rows() -> Iterator[Told]:
        wanted = [name for name in names if name in COLUMNS or name == column]
        with _readable(file), pq.ParquetFile(file) as table:
            yield from _records(table.iter_batches(batch_size=_BATCH, columns=wanted), column)

    return names, column, rows()


def _records(batches: Iterable[pa.RecordBatch], column: str) -> Iterator[Told]:
    """Rows as objects, of the columns that are known."""
    number = 0
    for batch in batches:
        some = batch.select([name for name in batch.schema.names if name in COLUMNS or name == column])
        for place in range(batch.num_rows):
            number += 1
            try:
                yield number, some.slice(place, 1).to_pylist()[0]
            except UnicodeDecodeError as error:
                yield number, FaultError("not-utf8", f"a text of the row is not UTF-8: {error}")


@contextmanager
def _readable(file: Path) -> Iterator[None]:
    """Say it in one sentence where a file is damaged, or may not be read."""
    try:
        yield
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        text = " ".join(str(error).split())[:200]
        closed = isinstance(error, OSError) and error.errno is not None  # Arrow tells damage without one
        cure = "let it be read (chmod)" if closed else "get it again"
        raise UsageError(f"{file} cannot be read as {file.suffix[1:].capitalize()} ({text}): {cure}") from None


_OPENED: dict[str, Callable[[Path], _Opened]] = {".tsv": _tsv, ".arrow": _arrow, ".parquet": _parquet}
