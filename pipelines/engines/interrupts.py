"""Ctrl-C at a moment that does no harm."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def interrupts_later() -> Iterator[None]:
    """Signals that stop the command, if they come within the block, are answered at its end.

    A `KeyboardInterrupt` out of the middle of `concurrent.futures` leaves a future locked (`Condition.__enter__` is a
    function of Python, and may be left after it has the lock): whoever sets its result then waits for ever, and so does
    the end of the process. An error of the block goes first: it ends the command as well. For short blocks; in other
    threads than the main one, which no signal reaches, it does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[tuple[int, FrameType | None]] = []
    known = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    answers = {number: answer for number, answer in known.items() if callable(answer)}
    try:
        for number in answers:
            signal.signal(number, lambda number, frame: came.append((number, frame)))
        yield
    finally:
        for number, answer in answers.items():
            signal.signal(number, answer)
    for told, frame in came[:1]:
        answers[signal.Signals(told)](told, frame)
