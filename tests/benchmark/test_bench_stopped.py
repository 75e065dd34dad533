"""Ctrl-C and SIGTERM in the middle of a served run: it ends in order, and the same command goes on."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmark.models.base import ModelOptions, open_model
from benchmark.models.served import ServedModel
from benchmark.records import Ask
from tests.benching import asks_of, shelf
from tests.benchmark.test_bench_served import lines, ran, seeing, serving
from tests.calls import MODEL


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_run_in_order_whenever_it_comes(tmp_path: Path, terminable: None, number: int) -> None:
    """It falls into the loop, its sleep, the log, the first calls; no reply is asked for twice."""
    before, handler = 0, signal.getsignal(signal.SIGTERM)
    calls = wanted = 0

    def reply(place: int, body: dict[str, Any]) -> Any:
        nonlocal calls
        calls += 1
        if calls == wanted:
            signal.pthread_kill(threading.main_thread().ident or 0, number)
        return seeing(place, body)

    with serving(reply) as server:
        for more in (1, 4, 2, 20, 3, 30):
            wanted = calls + more
            with pytest.raises(KeyboardInterrupt):
                ran(server.url, tmp_path, "circular", number=20, concurrency=2)
            assert signal.getsignal(signal.SIGTERM) is handler
            assert before <= len(lines(tmp_path)) < 160
            before = len(lines(tmp_path))
        assert ran(server.url, tmp_path, "circular", number=20, concurrency=2).asked == 160 - before
    assert len({line.ask_id for line in lines(tmp_path)}) == 160
    assert 160 <= calls <= 160 + 6 * 5, "those in flight are lost"


@pytest.mark.parametrize("after", [1, 2, 20])
def test_an_interrupt_that_is_raised_in_the_loop(tmp_path: Path, after: int) -> None:
    """What comes in the middle of a step leaves the loop in order too."""

    def asks() -> Iterator[Ask]:
        yield from asks_of(shelf())[:after]
        raise KeyboardInterrupt

    with serving(seeing) as server:
        options = ModelOptions(scratch=tmp_path / "scratch", work=tmp_path / "work", max_new_tokens=32)
        with pytest.raises(KeyboardInterrupt):
            list(open_model(f"served:{MODEL}@{server.url}", options).replies(asks()))


@pytest.mark.parametrize("after", [1, 2, 20])
def test_an_interrupt_that_is_raised_in_a_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """In a task beside the one that is waited for."""
    calls = 0

    def request(self: ServedModel, ask: Ask) -> Any:
        nonlocal calls
        calls += 1
        if calls == after:
            raise KeyboardInterrupt
        return plain(self, ask)

    plain = ServedModel._request
    monkeypatch.setattr(ServedModel, "_request", request)
    with serving(seeing) as server:
        with pytest.raises(KeyboardInterrupt):
            ran(server.url, tmp_path, "circular")
        assert ran(server.url, tmp_path, "circular").asks == len(lines(tmp_path))
