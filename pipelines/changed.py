"""Picture files that do not hold what the memory of files says, though size and time are the same.

A mended copy that was brought in with its old time (`rsync -t`) is such a file, or one on a disk that fails. Whoever
meets one notes it below the working folder, from any process and machine. The next reading of its source forgets what
was remembered of it, and the set may lose its regions, unless they are published. The note goes when the rows that were
read anew are on disk.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from slvr_data.files import write_atomic

_FOLDER = ".changed"
"""Of the working folder: a file per picture file, named by a hash of its path."""
_READ = "-read"
"""So ends the name of a note whose file was read anew."""


def note_changed(work: Path, path: Path, regions: Iterable[str]) -> None:
    """Keep that what is remembered of the picture file at `path`, and so what the plan says of `regions`, is wrong."""
    notes = work / _FOLDER
    notes.mkdir(exist_ok=True)
    write_atomic(notes / _name(str(path)), json.dumps([str(path), sorted(regions)]).encode())


def changed_files(work: Path) -> list[str]:
    """The paths of all noted files, sorted."""
    return sorted({path for path, _ in _notes(work)})


def changed_regions(work: Path) -> set[str]:
    """The ids of the regions that earlier runs have planned on the noted files."""
    return {region for _, regions in _notes(work) for region in regions}


def mark_read(work: Path, paths: Iterable[str]) -> None:
    """These files were read anew, and their rows are still to be kept."""
    for path in set(paths):
        if (note := work / _FOLDER / _name(path)).exists():
            note.replace(note.with_name(note.name + _READ))


def forget_read(work: Path) -> None:
    """What was read anew is kept."""
    for note in (work / _FOLDER).glob(f"*{_READ}"):
        note.unlink()


def _notes(work: Path) -> Iterator[list[Any]]:
    for note in (work / _FOLDER).glob("*"):
        if not note.name.startswith("."):
            yield json.loads(note.read_bytes())


def _name(path: str) -> str:
    return hashlib.sha256(path.encode("utf-8", "surrogateescape")).hexdigest()[:32]
