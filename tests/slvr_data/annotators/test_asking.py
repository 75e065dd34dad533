"""Asking about a picture: the order of calls, and what one call's end means for the others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

import pytest

from slvr_data.annotators.base import Unfinished
from slvr_data.annotators.served.asking import ask_together, failure_of
from slvr_data.requests import ending
from slvr_data.requests.failures import BudgetError, ServerError, UnfinishedError
from slvr_data.requests.messages import Answer, Refusal, Request, Sampling
from tests.calls import until

T = TypeVar("T")


def request(name: str) -> Request[str]:
    return Request(name, "p", (), Sampling(0, 1, 16, 0), "v", {}, str)


class Desk:
    """Answers by a function of the request's purpose, and notes what was under way when."""

    def __init__(self, answer: Callable[[str], Any]) -> None:
        self.answer, self.open, self.notes, self.cancelled = answer, 0, [], []  # type: ignore[var-annotated]

    async def ask(self, request: Request[T]) -> Answer[T] | Refusal:
        self.open += 1
        self.notes.append((request.purpose, self.open))
        try:
            await asyncio.sleep(0.01)
            found = self.answer(request.purpose)
            if isinstance(found, Exception):
                raise found
            if found is None:
                await asyncio.sleep(60)
        except asyncio.CancelledError:
            self.cancelled.append(request.purpose)
            raise
        finally:
            self.open -= 1
        answer: Answer[T] | Refusal = found
        return answer


def accepted(name: str) -> Answer[Any]:
    return Answer(name.upper(), f"key {name}", 0, False)


def test_the_first_goes_alone_and_answers_keep_their_order() -> None:
    desk = Desk(accepted)
    found = asyncio.run(ask_together(desk, [request(name) for name in "abcd"]))
    assert [getattr(answer, "value", None) for answer in found] == ["A", "B", "C", "D"]
    assert desk.notes == [("a", 1), ("b", 1), ("c", 2), ("d", 3)]
    assert asyncio.run(ask_together(desk, [])) == []


@pytest.mark.parametrize("lost", ["a", "c"])
def test_what_is_unfinished_costs_the_others_nothing(lost: str) -> None:
    errors = {lost: BudgetError("the budget of 3 calls is spent")}
    desk = Desk(lambda name: errors.get(name) or accepted(name))
    found = asyncio.run(ask_together(desk, [request(name) for name in "abc"]))
    assert [isinstance(answer, Unfinished) for answer in found] == [name == lost for name in "abc"]
    assert Unfinished("the budget of 3 calls is spent") in found
    assert issubclass(BudgetError, UnfinishedError)


def test_a_wrong_server_stops_all_and_leaves_nothing_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ending, "UNDER_WAY", 0.2)
    desk = Desk(lambda name: {"a": accepted("a"), "b": ServerError("wrong key")}.get(name))

    async def run() -> int:
        with pytest.raises(ServerError, match="wrong key"):
            await ask_together(desk, [request(name) for name in "abcd"])
        return len(asyncio.all_tasks()) - 1

    assert asyncio.run(run()) == 0
    assert sorted(desk.cancelled) == ["c", "d"] and desk.open == 0


def test_what_is_under_way_when_another_call_ends_the_run_is_waited_for() -> None:
    """It is paid for; whoever asks keeps its reply."""
    came: list[str] = []

    class Slow:
        async def ask(self, asked: Request[T]) -> Answer[T] | Refusal:
            name = str(asked.purpose)
            if name == "b":
                raise ServerError("wrong key")
            await asyncio.sleep(0 if name == "a" else 0.2)
            came.append(name)
            return accepted(name)  # type: ignore[return-value]

    with pytest.raises(ServerError, match="wrong key"):
        asyncio.run(ask_together(Slow(), [request(name) for name in "abcd"]))
    assert came == ["a", "c", "d"]


def test_cancelling_cancels_the_calls() -> None:
    desk = Desk(lambda name: accepted(name) if name == "a" else None)

    async def run() -> None:
        asking = asyncio.ensure_future(ask_together(desk, [request(name) for name in "abc"]))
        await until(lambda: len(desk.notes) == 3)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking

    asyncio.run(run())
    assert sorted(desk.cancelled) == ["b", "c"]


def test_a_refusal_tells_class_cause_and_the_last_reply() -> None:
    failure = failure_of(Refusal("k", "schema", "action is missing", "{\n  " + "x" * 5000))
    assert failure.reason == "reply-schema" and failure.evidence.startswith("action is missing; the last reply: { xxx")
    assert failure.evidence.endswith("...") and len(failure.evidence) < 400
    assert failure_of(Refusal("k", "empty", "no text", "")).evidence == "no text"
