"""What of a working folder goes to the set's address: folders that never change once they are there, and small files.

A *unit* is a folder of a stage's shard, or of embeddings: it appears whole and is never written again. A segment of
replies is a file of that kind. Everything else that stays is *plain*: a file that is replaced whole when it changes.
What is removed on purpose is written down (`note_removed`), since the absence of a file alone says nothing: a scratch
folder may lose anything at any time.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

WORK = ".work"
MARK = "slvr"
REMOVED = "removed"
"""Names in the working folder that were removed on purpose, a line each; there only in a scratch folder."""
_NO_STAGES = ("plan", "requests")
"""Folders of the working folder that hold files. All others hold units, those of embeddings one level further down."""
_SEGMENTS = "requests/segments"
_LEFT_HERE = {"lock", REMOVED, "publish", "driver.json", "avoid-index"}
"""What has a meaning on this machine alone."""

Signature = tuple[tuple[str, int, int], ...]
"""(file, bytes, modification time in nanoseconds) of each file: it changes with the content."""


@dataclass
class Found:
    """The working folder at some moment, by names relative to it."""

    units: dict[str, Signature] = field(default_factory=dict)
    segments: dict[str, Signature] = field(default_factory=dict)
    plain: dict[str, Signature] = field(default_factory=dict)


def is_unit(name: str) -> bool:
    """Whether the name of a folder in the working folder is that of a unit."""
    parts = name.split("/")
    if parts[0] in _NO_STAGES or any(part.startswith(".") for part in parts):
        return False
    return len(parts) == (3 if parts[0] == "embeddings" else 2)


def artefact_of(name: str) -> str:
    """The unit that a file of that name belongs to, or the name itself."""
    parts = name.split("/")
    deep = 3 if parts[0] == "embeddings" else 2
    return name if parts[0] in _NO_STAGES else "/".join(parts[:deep])


def is_segment(name: str) -> bool:
    """Whether a name in the working folder is that of a segment of replies."""
    folder, _, file = name.rpartition("/")
    return folder == _SEGMENTS and file.endswith(".parquet")


def is_plain(name: str) -> bool:
    """Whether a file of that name is kept at the address, and replaced when it changes."""
    parts = name.split("/")
    if parts[0] in _LEFT_HERE or any(part.startswith(".") for part in parts):
        return False
    if parts[0] not in _NO_STAGES and len(parts) > 2:
        return False
    return not name.startswith(f"{_SEGMENTS}/") and not name.endswith((".html", ".tmp")) and not _is_progress(name)


def _is_progress(name: str) -> bool:
    return name.startswith("progress") and name.endswith(".json")


def look(work: Path) -> Found:
    """Everything that stays, as it is now."""
    found = Found()
    for name, entry in _walk(work, ""):
        if entry.is_dir():
            if signature := folder_signature(Path(entry.path)):
                found.units[name] = signature
        elif is_segment(name):
            found.segments[name] = _signature(entry)
        elif is_plain(name):
            found.plain[name] = _signature(entry)
    return found


def _walk(folder: Path, prefix: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Units, and files outside of units."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except FileNotFoundError:
        return
    for entry in entries:
        name = f"{prefix}{entry.name}"
        if entry.name.startswith(".") or name in _LEFT_HERE:
            continue
        if entry.is_dir() and not is_unit(name):
            yield from _walk(folder / entry.name, f"{name}/")
        else:
            yield name, entry


def _signature(entry: os.DirEntry[str]) -> Signature:
    try:
        info = entry.stat()
    except FileNotFoundError:
        return ()
    return ((entry.name, info.st_size, info.st_mtime_ns),)


def folder_signature(folder: Path) -> Signature:
    """Of a unit; empty where it is gone."""
    try:
        with os.scandir(folder) as entries:
            return tuple(sorted(part for entry in entries for part in _signature(entry)))
    except (FileNotFoundError, NotADirectoryError):
        return ()


def note_removed(work: Path, name: str) -> None:
    """Before `name` in the working folder is removed on purpose: what is then not there, at or below it, goes too
    where the folder is the scratch of a set at an address, also if the run is killed before. Does nothing elsewhere.
    """
    if (work / REMOVED).exists():
        with (work / REMOVED).open("a") as notes:
            notes.write(f"{name}\n")
            notes.flush()
            os.fsync(notes.fileno())


def noted(work: Path) -> list[str]:
    """The names that were written down."""
    try:
        return [line for line in (work / REMOVED).read_text().split("\n") if line]
    except FileNotFoundError:
        return []


def gone(work: Path, names: Iterable[str], notes: Collection[str]) -> list[str]:
    """Those of `names` (units and files) that were removed on purpose: named by a note, or below one, and not here."""
    wanted = set(notes)
    return [name for name in names if not wanted.isdisjoint(_ways_to(name)) and not (work / name).exists()]


def _ways_to(name: str) -> list[str]:
    parts = name.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
