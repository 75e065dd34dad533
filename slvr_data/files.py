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
_NO_SYNC = {errno.EACCES, errno.EBADF, errno.EINVAL, errno.ENOTSUP}
"""What is answered of folders that may not be read, or that a file system cannot bring to disk."""

DAMAGED = ".*.damaged*"
"""So look the names that `put_aside` gives."""


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
    """Write a file beside `path` and move it there; a reader sees the old file or the new one. Then it is on disk."""
    temporary = _beside(path)
    with disk_errors(f"writing {path}"):
        try:
            with temporary.open("wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(path)
            sync(path.parent)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise


@contextmanager
def folder_atomic(path: Path) -> Iterator[Path]:
    """A new folder that appears at `path` when the block ends well, and not at all when it does not.

    Then all its files are on disk.
    """
    temporary = _beside(path)
    with disk_errors(f"writing {path}"):
        try:
            temporary.mkdir(parents=True)
            yield temporary
            for made in (*temporary.rglob("*"), temporary):
                sync(made)
            try:
                temporary.rename(path)
            except OSError:
                if not path.exists():
                    raise
                shutil.rmtree(temporary)  # the same content, finished by an earlier run
            sync(path.parent)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise


def sync(path: Path) -> None:
    """Bring a file, or the names in a folder, to disk, so that a loss of power does not take them. Raises OSError."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC or not path.is_dir():
            raise


def replace_synced(temporary: Path, path: Path) -> None:
    """Move a finished file to `path`, and have it there on disk before anything that is done next. Raises OSError."""
    sync(temporary)
    temporary.replace(path)
    sync(path.parent)


def refuse_unreadable(error: Exception, path: Path) -> None:
    """To be called with what was met in reading `path`, before that is taken for damaged.

    Raises:
        RunError: the file may be whole and cannot be read now: no right, no open file, no memory left, or a file
            system that fails.
    """
    failing = isinstance(error, OSError) and error.errno not in (None, errno.ENOENT)
    if failing or isinstance(error, MemoryError):
        raise RunError(
            f"{path} cannot be read now ({str(error) or type(error).__name__}): it may be whole, so it stays as it is; "
            "see to its owner and rights, its file system, the limits of memory and open files, and run the same "
            "command again (if it can never be read again, remove it first)"
        ) from error


def put_aside(folder: Path) -> Path:
    """Rename a damaged folder so that no reader looks at it again, and nothing removes it unasked; where it is now."""
    number = 1
    while (aside := folder.with_name(f".{folder.name}.damaged{number if number > 1 else ''}")).exists():
        number += 1
    return folder.replace(aside)


def is_leftover(path: Path) -> bool:
    """Whether a name is one that only `write_atomic` and `folder_atomic` give."""
    return path.name.startswith(".") and _ONCE.search(path.name) is not None


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
