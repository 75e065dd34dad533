"""One writer per set at an address: an object that says who holds it, and a heartbeat that shows that it lives.

Clocks are never compared, since those of two machines differ: whoever wants the place watches whether the object's
content changes. A holder on this machine is asked of the kernel instead, so that a run that was killed is taken over
at once. A holder that was held up (suspended, cut off) finds itself replaced at its next beat, and stops.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from slvr_data.errors import RunError, UsageError
from slvr_data.remote.place import Place
from slvr_data.remote.steady import StoreError

NAME = ".work/driver.json"
BEAT_SECONDS = 10.0
_BEATS = 3.5
"""A holder that has not beaten for so many of its own intervals is taken to be gone."""
_SETTLE_SECONDS = 1.0
"""Between taking a place and believing it: another that takes it at the same moment is seen then."""


class LostError(RunError):
    """Another driver has taken the place."""


class Holding:
    """The place of the one driver of a set; `take` before anything is written, `release` at the end.

    `session` names this run; `before` is that of the run that held the place last, None for the first.
    """

    def __init__(self, place: Place, say: Callable[[str], None], beat_seconds: float = BEAT_SECONDS) -> None:
        self._place, self._say, self.seconds = place, say, beat_seconds
        self.session = uuid.uuid4().hex
        self.before: str | None = None
        self._beat = 0
        self._beaten = 0.0
        self._lock = threading.Lock()
        self.lost = False

    def take(self) -> None:
        """Become the driver.

        Raises:
            UsageError: another lives.
        """
        there = _parsed(self._read())
        if there is not None:
            self.before = str(there.get("session", "")) or None
            if there.get("held"):
                self._await_death(there)
        self._write()
        time.sleep(min(_SETTLE_SECONDS, self.seconds))
        self.confirm()

    def confirm(self) -> None:
        """Make sure that the place is still this run's.

        Raises:
            LostError: it is not.
        """
        there = _parsed(self._read())
        if there is None or there.get("session") != self.session:
            self.lost = True
            raise LostError(
                f"{self._place.shown} is now written by {_who(there)}: this run has stopped; let one of them go on"
            )

    def beat(self) -> None:
        """Show that this run lives, if it is time to. Raises LostError."""
        if time.monotonic() - self._beaten < self.seconds:
            return
        self.confirm()
        self._write()

    def release(self, forget: bool = False) -> None:
        """Leave the place to whoever comes next; with `forget` as if nobody had been there."""
        if self.lost:
            return
        self.confirm()
        if forget:
            self._place.remove([NAME])
        else:
            self._write(held=False)

    def _read(self) -> bytes:
        try:
            return self._place.read(NAME)
        except FileNotFoundError:
            return b""

    def _write(self, held: bool = True) -> None:
        with self._lock:
            self._beat += 1
            told = {"held": held, "session": self.session, "beat": self._beat, "beat_seconds": self.seconds}
            told |= {"host": socket.gethostname(), "pid": os.getpid(), "where": _where(), "born": _born(os.getpid())}
            self._place.write(NAME, (json.dumps(told) + "\n").encode())
            self._beaten = time.monotonic()

    def _await_death(self, there: dict[str, Any]) -> None:
        """Come back when the holder is gone."""
        alive = _lives_here(there)
        if alive:
            raise UsageError(f"{self._place.shown} is being written by {_who(there)}: wait for it, or stop it")
        if alive is None:
            wait = _BEATS * max(self.seconds, float(there.get("beat_seconds") or self.seconds))
            self._say(f"{self._place.shown}: {_who(there)} wrote last; waiting {wait:.0f} s to see whether it lives")
            until = time.monotonic() + wait
            while time.monotonic() < until:
                time.sleep(min(self.seconds / 2, max(0.0, until - time.monotonic())))
                now = _parsed(self._read())
                if now is None or not now.get("held"):
                    return
                if (now.get("session"), now.get("beat")) != (there.get("session"), there.get("beat")):
                    raise UsageError(f"{self._place.shown} is being written by {_who(now)}: wait for it, or stop it")
        self._say(f"taking over from {_who(there)}, which is gone")


def holder(place: Place) -> str | None:
    """Who drives the set, for readers: of a holder on another machine nobody here knows whether it lives."""
    try:
        there = _parsed(place.read(NAME))
    except (FileNotFoundError, StoreError):
        return None
    if there is None or not there.get("held"):
        return None
    alive = _lives_here(there)
    if alive is None:
        return f"last written by {_who(there)}; only there it can be seen whether it still runs"
    return _who(there) if alive else None


def _parsed(data: bytes) -> dict[str, Any] | None:
    try:
        tree = json.loads(data)
    except ValueError:
        return None
    return tree if isinstance(tree, dict) else None


def _who(there: dict[str, Any] | None) -> str:
    if not there or "pid" not in there:
        return "another process"
    return f"process {there['pid']} on {there.get('host')}"


def _where() -> str:
    """This machine since its start, and this process's view of processes: pids compare only within one."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _born(pid: int) -> str:
    """When a process was started, in the kernel's words; empty where there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def _lives_here(there: dict[str, Any]) -> bool | None:
    """Whether the holder lives; None where it cannot be known from here."""
    if not there.get("where") or there["where"] != _where() or not isinstance(there.get("pid"), int):
        return None
    return _born(there["pid"]) == there.get("born")
