"""What a person wants avoided, found: a folder or file becomes chunks that workers read one by one.

A published set gives its pictures, a benchmark folder of `slvr-bench` its own, any other folder all its picture files
and all Parquet, Arrow and TSV files with a column of pictures. A file without a suffix is a picture file if it begins
like one. Other files are passed over, and counted; hidden files and folders are passed over.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from slvr_data.avoid.features import method
from slvr_data.errors import UsageError
from slvr_data.manifest import FORMAT, NAME, load_manifest
from slvr_data.shards import files_of
from slvr_data.tables import arrow_file, parquet_file, picture_columns, tsv_column

PICTURES = {".jpg", ".jpeg", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".mpo"}
CLOSED = {".avif", ".heic", ".heif", ".jp2", ".jxl"}
"""Pictures in forms that are not read: they are counted as unreadable, not passed over."""
TABLES = {".parquet", ".arrow", ".tsv"}
_STARTS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"II*\0", b"MM\0*")
"""Of picture files, less those of two bytes."""
_FILES = 32
"""Picture files in a chunk."""
_BENCH = "bench.json"
_MOST_NAMED = 5


@dataclass(frozen=True)
class Chunk:
    """Pictures that one call reads: some files, one row group of a Parquet file, or one other table."""

    root: str
    files: tuple[str, ...]
    """Paths below `root`."""
    table: bool = False
    group: int | None = None
    """Of a Parquet file."""
    columns: tuple[str, ...] = ()
    """Of a table: those with pictures."""
    stamp: str = ""
    """Sizes and times of the files: it changes with them."""
    gone: tuple[str, ...] = ()
    """Those of the files that could not be looked at: whoever reads them says why."""
    pictures: tuple[()] = ()
    """None that could be tried one by one where a worker dies of them."""

    @property
    def name(self) -> str:
        """Of the shard that holds what a worker made of the chunk."""
        told = (self.root, self.files, self.table, self.group, self.columns, self.stamp, method())
        return hashlib.sha256(repr(told).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Given:
    """A folder or file that was named, and its chunks in order."""

    path: str
    chunks: tuple[Chunk, ...]
    without: tuple[str, ...] = ()
    """Tables below it that have no column of pictures."""
    passed_over: tuple[tuple[str, int], ...] = ()
    """Suffixes of files below it that were not looked into, and how many have them, the most frequent first."""


def placed(told: str) -> Path:
    """Where something told lies, by one path however it was written; links are kept, unless `..` stands in it."""
    path = Path(told).absolute()
    return path.resolve() if ".." in path.parts else path


def open_given(told: str) -> Given:
    """What `--avoid` names.

    Raises:
        UsageError: it is an address or not there, holds no pictures, or is a set published by reference.
    """
    if "://" in told:
        raise UsageError(f"--avoid {told}: that is an address: download it first, and give its folder")
    path = placed(told)
    if not path.exists():
        raise UsageError(f"--avoid {told}: there is no such folder or file")
    root = path if path.is_dir() else path.parent
    without: list[str] = []
    others: Counter[str] = Counter()
    try:
        chunks = tuple(_chunks(root, _files(root, others) if path.is_dir() else [path.name], without))
    except OSError as error:
        raise UsageError(
            f"--avoid {told} cannot be read: {error}: let it be read (chmod), or move that out of it"
        ) from None
    passed_over = tuple(sorted(others.items(), key=lambda pair: (-pair[1], pair[0])))
    if not chunks:
        why = f": {without[0]} has no column of pictures" if without else ""
        why = why or (f": it has {counted(passed_over)}" if others else "")
        raise UsageError(
            f"--avoid {told} holds no pictures{why}: give a folder of pictures, a published set, a benchmark folder, "
            "or Parquet, Arrow or TSV files with a column of pictures"
        )
    return Given(str(path), chunks, tuple(without), passed_over)


def counted(passed_over: Sequence[tuple[str, int]]) -> str:
    """Files by their suffixes in words: "12 .txt, 1 without a suffix"; the rarer ones together."""
    named = [f"{count} {ascii(suffix[:20])[1:-1] or 'without a suffix'}" for suffix, count in passed_over[:_MOST_NAMED]]
    rest = sum(count for _, count in passed_over[_MOST_NAMED:])
    return ", ".join([*named, f"{rest} of other kinds"] if rest else named)


def names_of(paths: Iterable[str]) -> dict[str, str]:
    """A short name for each path, the last of its parts that tell them apart; a manifest shows no more."""
    paths = sorted(set(paths))
    names: dict[str, str] = {}
    for parts in range(1, 1 + max((len(Path(path).parts) for path in paths), default=0)):
        short = {path: "/".join(Path(path).parts[-parts:]) for path in paths if path not in names}
        counts = Counter(short.values())
        names |= {path: name for path, name in short.items() if counts[name] == 1 and name not in names.values()}
    return names


def _files(root: Path, others: Counter[str]) -> list[str]:
    """The files to read below `root`; suffixes of the others are counted."""
    if _is_set(root):
        manifest = load_manifest(root)
        return [file.path for file in files_of(manifest.files, "images")]
    if (root / _BENCH).is_file():
        return ["pictures.parquet"]
    found = []
    seen = {_identity(root)}
    for folder, folders, files in os.walk(root, onerror=_refuse, followlinks=True):
        folders[:] = [
            name for name in sorted(folders) if not name.startswith(".") and _new(_identity(Path(folder, name)), seen)
        ]
        for path in (Path(folder, name) for name in files if not name.startswith(".")):
            if _is_wanted(path):
                found.append(path.relative_to(root).as_posix())
            else:
                others[path.suffix.lower()] += 1
    return sorted(found)


def _is_wanted(path: Path) -> bool:
    """By its suffix; without one, by how it begins, as caches name pictures by their hashes. Raises OSError."""
    if path.suffix:
        return path.suffix.lower() in PICTURES | CLOSED | TABLES
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        start = stream.read(12)
    return start.startswith(_STARTS) or (start[:4], start[8:]) == (b"RIFF", b"WEBP")


def _is_set(root: Path) -> bool:
    """Whether its manifest is one of ours; others have files of that name too."""
    try:
        tree = json.loads((root / NAME).read_bytes())
    except (FileNotFoundError, IsADirectoryError, ValueError, RecursionError):
        return False
    return isinstance(tree, dict) and tree.get("format") == FORMAT


def _refuse(error: OSError) -> None:
    """A folder that cannot be listed may hold anything."""
    raise error


def _identity(folder: Path) -> tuple[int, int]:
    info = folder.stat()
    return info.st_dev, info.st_ino


def _new(identity: tuple[int, int], seen: set[tuple[int, int]]) -> bool:
    """Whether a folder was not there before; links may lead to one many times, or round in a circle."""
    if identity in seen:
        return False
    seen.add(identity)
    return True


def _chunks(root: Path, files: list[str], without: list[str]) -> Iterator[Chunk]:
    singles = [file for file in files if Path(file).suffix.lower() not in TABLES]
    for first in range(0, len(singles), _FILES):
        some = tuple(singles[first : first + _FILES])
        stamp, gone = _stamp(root, some)
        yield Chunk(str(root), some, stamp=stamp, gone=gone)
    for file in files:
        if Path(file).suffix.lower() in TABLES:
            yield from _of_table(root, file, without)


def _stamp(root: Path, files: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """A hash of sizes and times, and which files have none."""
    found, gone = [], []
    for file in files:
        try:
            info = (root / file).stat()
            found.append((info.st_size, info.st_mtime_ns))
        except OSError:
            found.append((-1, -1))
            gone.append(file)
    return hashlib.sha256(repr(found).encode()).hexdigest()[:16], tuple(gone)


def _of_table(root: Path, file: str, without: list[str]) -> Iterator[Chunk]:
    """The chunks of a table; one that has no pictures is noted in `without`."""
    columns: list[str] = []
    groups: list[int | None] = [None]
    more: dict[str, Any] = {"table": True, "stamp": _stamp(root, (file,))[0]}
    path = root / file
    try:
        if path.suffix.lower() == ".tsv":
            column = tsv_column(path)
            columns = [column] if column else []
        elif path.suffix.lower() == ".arrow":
            with arrow_file(path) as reader:
                columns = picture_columns(reader.schema, iter(reader))
        else:
            with parquet_file(path) as parquet:
                batches = parquet.iter_batches(batch_size=1)
                columns = picture_columns(parquet.schema_arrow, batches)
                groups = [*range(parquet.num_row_groups)]
    except (pa.ArrowException, OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # Arrow tells damage without one
            raise
        text = " ".join(str(error).split())[:200]
        raise UsageError(f"--avoid: {path} cannot be read ({text}): get the file again, or take it away") from None
    if not columns:
        without.append(file)
        return
    for group in groups:
        yield Chunk(str(root), (file,), group=group, columns=tuple(columns), **more)
