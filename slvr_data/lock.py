"""One writer per set: a lock file that says who holds it, and that a dead holder does not keep."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from slvr_data.errors import UsageError
from slvr_data.files import disk_errors
from slvr_data.slurm import has_ended, job_here

_READERS_SECONDS = 10.0
"""How long a writer waits for readers who only ask who writes."""
_HELD = {errno.EWOULDBLOCK, errno.EACCES}
"""What the kernel says where another process has the lock; anything else, and it could not be asked."""


class Lock:
    """Held from `__enter__` to `__exit__`.

    The kernel's file lock tells whether a holder on this host lives. A holder on another host (a shared
    file system) can not be asked: its lock is respected, and the message says which file to remove. Except where
    Slurm says that its job has ended, or where the caller knows that it is gone (`others_gone`).
    """

    def __init__(self, path: Path, others_gone: bool = False) -> None:
        self.path, self._others_gone = path, others_gone
        self.took_over: str | None = None
        """Who left the lock behind, where it was stale."""

    def __enter__(self) -> Lock:
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        self._stream = os.fdopen(descriptor, "r+")
        try:
            locked = _locked(descriptor)
        except OSError as error:
            self._stream.close()
            raise UsageError(_no_locks(self.path, error)) from None
        if not locked:
            holder = _holder(self._stream.read())
            self._stream.close()
            raise UsageError(f"{self.path.parent.parent} is being written by {holder}: wait for it, or stop it")
        holder_text = self._stream.read()
        if holder_text.strip():
            self._take_over(holder_text)
        with disk_errors(f"writing {self.path}"):
            self._stream.seek(0)
            self._stream.truncate()
            self._stream.write(json.dumps(_ours()))
            self._stream.flush()
        return self

    @property
    def is_there(self) -> bool:
        """Whether its file still is where it was opened: whoever had it before may have removed it at the end."""
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return False
        return os.path.samestat(found, os.fstat(self._stream.fileno()))

    def _take_over(self, text: str) -> None:
        """Recognise a stale lock; respect one of another host."""
        try:
            left = json.loads(text)
            host, job = left.get("host"), left.get("job")
        except (json.JSONDecodeError, AttributeError):
            host = job = None
        elsewhere = host is not None and host != socket.gethostname()
        if elsewhere and not self._others_gone and not has_ended(job):
            self._stream.close()
            raise UsageError(
                f"{self.path.parent.parent} is locked by {_holder(text)}, another host: "
                f"if nothing runs there any more, remove {self.path}"
            )
        self.took_over = _holder(text)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.seek(0)
        self._stream.truncate()
        self._stream.close()


def _ours() -> dict[str, Any]:
    """What the lock says of this process."""
    job = job_here()
    return {"host": socket.gethostname(), "pid": os.getpid()} | ({} if job is None else {"job": job})


def _no_locks(path: Path, error: OSError) -> str:
    return (
        f"{path} cannot be locked ({error.strerror}), so two writers could not be kept apart: mount this file system "
        "with locks (Lustre: -o flock; NFS: without nolock), or use a folder on another"
    )


def _locked(descriptor: int) -> bool:
    """Take the kernel's lock; readers who ask for the holder have it for a moment, and are waited for.

    Raises:
        OSError: this file system has no locks.
    """
    writers, until = 0, time.monotonic() + _READERS_SECONDS
    while not _taken(descriptor, fcntl.LOCK_EX):
        if not _taken(descriptor, fcntl.LOCK_SH):
            writers += 1
        else:
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # no writer has it
        if writers == 4 or time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


def _taken(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in _HELD:
            raise
        return False
    return True


def _holder(text: str) -> str:
    try:
        held = json.loads(text)
        job = f" (Slurm job {held['job']['id']})" if "job" in held else ""
        return f"process {held['pid']} on {held['host']}{job}"
    except (json.JSONDecodeError, KeyError, TypeError):
        return "another process"


def holder(path: Path) -> str | None:
    """Who holds the lock now, or None; for readers that do not want it themselves."""
    if not path.exists():
        return None
    with path.open() as stream:
        text = stream.read()
        try:
            fcntl.flock(stream.fileno(), fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as error:  # where there are no locks, what is written there is all that is known
            return _holder(text) if error.errno in _HELD or text.strip() else None
    return None
