"""Ctrl-C while futures are made and looked at: it comes, and leaves none of them locked."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from pipelines.engines.interrupts import interrupts_later
from pipelines.engines.results import results


def test_it_is_answered_at_the_end_and_the_answers_are_put_back() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    passed = []
    with pytest.raises(KeyboardInterrupt), interrupts_later():
        os.kill(os.getpid(), signal.SIGINT)
        passed.append(sum(range(1000)))
    assert passed, "the block is done first"
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    with interrupts_later():
        pass
    with pytest.raises(ZeroDivisionError), interrupts_later():
        raise ZeroDivisionError
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_another_thread_is_left_alone() -> None:
    seen: list[Any] = []

    def look() -> None:
        with interrupts_later():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGINT)]


class Struck(threading.Condition):
    """Ctrl-C comes when it has just been locked, which is where Python lets it out."""

    left = 0

    def __enter__(self) -> bool:
        locked = super().__enter__()
        Struck.left -= 1
        if Struck.left == 0 and threading.current_thread() is threading.main_thread():
            os.kill(os.getpid(), signal.SIGINT)
        return locked


@pytest.fixture
def struck() -> Iterator[type[Struck]]:
    yield Struck
    Struck.left = 0


@pytest.mark.parametrize("after", range(1, 12))
def test_no_future_stays_locked(struck: type[Struck], after: int) -> None:
    made: list[Future[int]] = []

    def call(number: int) -> Future[int]:
        future: Future[int] = Future()
        future._condition = struck()
        made.append(future)
        pool.submit(lambda: future.set_result(number))
        return future

    with ThreadPoolExecutor(2) as pool:
        struck.left = after
        found = []
        try:
            for number in results(call, lambda: 1, ((number,) for number in range(6)), None):
                found.append(number)
        except KeyboardInterrupt:
            pass
        else:
            assert sorted(found) == list(range(6))
        struck.left = 0
        free: list[bool] = []

        def look() -> None:
            for future in made:
                free.append(future._condition.acquire(timeout=20))
                future._condition.release()

        looking = threading.Thread(target=look, daemon=True)
        looking.start()
        looking.join(60)
    assert free == [True] * len(made)
