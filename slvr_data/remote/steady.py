"""Calls of a store that fails now and then: made again after a pause, and in the end one sentence with the cure."""

from __future__ import annotations

import errno
import os
import random
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from slvr_data.errors import RunError, UsageError
from slvr_data.remote.addresses import redacted

T = TypeVar("T")

PATIENCE = "SLVR_STORE_PATIENCE"
"""Environment variable: for how many seconds a failing call is made again (default 120)."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 15.0
_OURS = (TypeError, AttributeError, KeyError, IndexError, AssertionError, NotImplementedError, RecursionError)
"""Faults of a program, which no repetition mends."""
_LOOK_SECONDS = 0.2
"""Between two looks of one that waits for whether it is to stop."""
_AT_ONCE = 8
_KEYS = ("NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "TokenRetrievalError")
_EXPIRED = ("ExpiredToken", "InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken")


class StoreError(RunError):
    """A location could not be read or written, whatever was tried; the message names it and the cure."""


class RefusedError(UsageError):
    """A location that will not be read or written before somebody changes something."""


class Stop:
    """Ends the repetition of failing calls when it is set, or the one that it is `part_of`."""

    def __init__(self, part_of: Stop | None = None) -> None:
        self._event, self._part_of = threading.Event(), part_of

    def set(self) -> None:
        """Calls that fail from now on are not made again."""
        self._event.set()

    def clear(self) -> None:
        """They are again."""
        self._event.clear()

    def is_set(self) -> bool:
        """Whether it is set."""
        return self._event.is_set() or (self._part_of is not None and self._part_of.is_set())

    def wait(self, seconds: float) -> bool:
        """Wait so long, or until it is set; whether it is."""
        until = time.monotonic() + seconds
        while not self.is_set() and (rest := until - time.monotonic()) > 0:
            self._event.wait(min(rest, _LOOK_SECONDS))
        return self.is_set()


def at_once(call: Callable[[Any], object], arguments: Iterable[Any], stop: Stop | None = None) -> None:
    """`call` of every argument, eight at a time. After the first error, which is raised, no more are begun.

    `stop` is set then: it ends what is running, where the calls know of it.
    """
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        running = [pool.submit(call, argument) for argument in arguments]
        try:
            for done in running:
                done.result()
        except BaseException:
            if stop is not None:
                stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def patience() -> float:
    """Seconds for which a failing call is made again."""
    told = os.environ.get(PATIENCE, "120")
    try:
        return float(told)
    except ValueError:
        raise UsageError(f"{PATIENCE}={told!r}: give a number of seconds") from None


def steady(where: str, doing: str, call: Callable[[], T], seconds: float | None = None, stop: Stop | None = None) -> T:
    """What `call` gives, made again after growing pauses while the store fails.

    Args:
        where: the location, for messages.
        doing: what is being done, for messages ("writing", "listing").
        call: may be made any number of times with the same effect as once.
        seconds: patience; None: what the environment says.
        stop: ends the waiting when set.

    Raises:
        FileNotFoundError, FileExistsError: as `call` raised it.
        RefusedError: the store forbids it, or there are no credentials.
        StoreError: the store has failed for longer than the patience.
    """
    until = time.monotonic() + (patience() if seconds is None else seconds)
    pause = _FIRST_PAUSE
    while True:
        try:
            return call()
        except (FileNotFoundError, FileExistsError, *_OURS):
            raise
        except Exception as error:
            if (why := refusal(error)) is not None:
                raise RefusedError(f"{doing} {where} is refused: {why}") from None
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise
            rest = until - time.monotonic()
            if rest <= 0 or (stop is not None and stop.is_set()):
                raise StoreError(
                    f"{doing} {where} failed ({_told(error)}): see that the store answers, then run the same command "
                    "again; what is finished is kept"
                ) from error
        waited = min(pause * random.uniform(0.75, 1.25), max(rest, 0.0))
        if stop is not None:
            stop.wait(waited)
        else:
            time.sleep(waited)
        pause = min(2 * pause, _LONGEST_PAUSE)


def refusal(error: BaseException) -> str | None:
    """Why going on is of no use, with the cure; None where another try may do."""
    kind, text = type(error).__name__, str(error)
    if kind in _KEYS:
        return "there are no credentials: set those of the store (AWS_ACCESS_KEY_ID, AWS_PROFILE, ...)"
    if any(word in text for word in _EXPIRED):
        return f"the credentials are wrong or have expired ({_told(error)}): renew them, and run the command again"
    if isinstance(error, PermissionError):
        return f"permission denied ({_told(error)}): let these credentials read, list, write and delete there"
    return None


def _told(error: BaseException) -> str:
    """An error in a few words, without secrets."""
    words = " ".join(redacted(str(error)).split())
    return words[:200] or type(error).__name__
