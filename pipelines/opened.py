"""The working folder of a set: made, locked, cleared of what killed runs left."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipelines.progress import Progress
from slvr_data.errors import UsageError
from slvr_data.files import remove_leftovers
from slvr_data.lock import Lock
from slvr_data.manifest import NAME

WORK = ".work"
_MARK = "slvr"
"""A file that says whose working folder it is."""


@contextmanager
def opened(out: Path, progress_file: str = "progress.json") -> Iterator[tuple[Path, Progress]]:
    """The working folder of a set, locked; made where there is none.

    Raises:
        UsageError: the folder holds something else, or another process writes it.
    """
    work = out / WORK
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out} is a file: name a folder")
    new = not (work / _MARK).exists()
    if new:
        _refuse_foreign(out)
    try:
        work.mkdir(parents=True, exist_ok=True)
        (work / _MARK).touch()
    except OSError as error:
        raise UsageError(f"--out {out} cannot be made: {error.strerror}") from None
    progress = Progress(work / progress_file)
    with Lock(work / "lock") as lock:
        if lock.took_over:
            progress.say(f"taking over from {lock.took_over}, which is gone")
        for folder in (work, out):
            remove_leftovers(folder)
        try:
            yield work, progress
        except UsageError:
            if new and not (work / "settings.json").exists():  # nothing was begun: leave nothing behind
                shutil.rmtree(work)
            raise


def _refuse_foreign(out: Path) -> None:
    found = sorted(path.name for path in out.iterdir()) if out.exists() else []
    if NAME in found:
        raise UsageError(f"--out {out} holds a published set without its working files: build into another folder")
    if found:
        raise UsageError(f"--out {out} holds something else ({found[0]}): name a new or an empty folder")
