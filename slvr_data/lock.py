"""One writer per set: a lock file that says who holds it, and that a dead holder does not keep."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from pathlib import Path
from types import TracebackType

from slvr_data.errors import UsageError
from slvr_data.files import disk_errors

_READERS_SECONDS = 10.0
"""How long a writer waits for readers who only ask who writes."""


class Lock:
    """Held from `__enter__` to `__exit__`.

    The kernel's file lock tells whether a holder on this host lives. A holder on another host (a shared
    file system) can not be asked: its lock is respected, and the message says which file to remove.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.took_over: str | None = None
        """Who left the lock behind, where it was stale."""

    def __enter__(self) -> Lock:
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        self._stream = os.fdopen(descriptor, "r+")
        if not _locked(descriptor):
            holder = _holder(self._stream.read())
            self._stream.close()
            raise UsageError(f"{self.path.parent.parent} is being written by {holder}: wait for it, or stop it")
        holder_text = self._stream.read()
        if holder_text.strip():
            self._take_over(holder_text)
        with disk_errors(f"writing {self.path}"):
            self._stream.seek(0)
            self._stream.truncate()
            self._stream.write(json.dumps({"host": socket.gethostname(), "pid": os.getpid()}))
            self._stream.flush()
        return self

    def _take_over(self, text: str) -> None:
        """Recognise a stale lock; respect one of another host."""
        try:
            host = json.loads(text).get("host")
        except (json.JSONDecodeError, AttributeError):
            host = None
        if host is not None and host != socket.gethostname():
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


def _locked(descriptor: int) -> bool:
    """Take the kernel's lock; readers who ask for the holder have it for a moment, and are waited for."""
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
    except OSError:
        return False
    return True


def _holder(text: str) -> str:
    try:
        held = json.loads(text)
        return f"process {held['pid']} on {held['host']}"
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
        except OSError:
            return _holder(text)
    return None
