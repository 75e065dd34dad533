"""Files that are either whole or not there: atomic writes, and what a full disk says."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from slvr_data.errors import RunError

_FULL = {errno.ENOSPC, errno.EFBIG, errno.EDQUOT}
_IN_USE = {errno.ENOENT, errno.ESTALE, errno.ENOTEMPTY, errno.EBUSY}
"""What removing meets where others still write or remove there, or hold a file open (.nfs files)."""
_ONCE = re.compile(r"\.\d+-[0-9a-f]{8}\.tmp$")
"""So end the names of `_beside`."""


@contextmanager
def disk_errors(doing: str) -> Iterator[None]:
    """Turn a full disk into one clear line; other errors of the file system name what was being done."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL or "No space left" in str(error) or "File too large" in str(error):
            raise RunError(
                f"the disk is full (or a file size limit is reached) while {doing}: free space and run the same "
                "command again, nothing finished is lost"
            ) from error
        raise RunError(f"{doing} failed: {error}") from error


def _beside(path: Path) -> Path:
    """A name that no other writer uses, on this machine or on another that shares the disk (process ids repeat)."""
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file beside `path` and move it there; a reader sees the old file or the new one."""
    temporary = _beside(path)
    with disk_errors(f"writing {path}"):
        try:
            with temporary.open("wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise


@contextmanager
def folder_atomic(path: Path) -> Iterator[Path]:
    """A new folder that appears at `path` when the block ends well, and not at all when it does not."""
    temporary = _beside(path)
    with disk_errors(f"writing {path}"):
        try:
            temporary.mkdir(parents=True)
            yield temporary
            try:
                temporary.rename(path)
            except OSError:
                if not path.exists():
                    raise
                shutil.rmtree(temporary)  # the same content, finished by an earlier run
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise


def remove_leftovers(folder: Path) -> None:
    """Remove what writers that were killed left behind in `folder`.

    What their last workers still use is passed over where its name is one that is never used again (`_beside`): the
    next command removes it.
    """
    for leftover in folder.glob(".*.tmp"):
        try:
            if leftover.is_dir():
                shutil.rmtree(leftover)
            else:
                leftover.unlink()
        except OSError as error:
            if error.errno not in _IN_USE or not _ONCE.search(leftover.name):
                raise


def sha256_of(path: Path) -> str:
    """sha256 of a file, read in pieces."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
