"""A judge's server that says what a test wants, beside the work that asks it; and what it was asked, in parts."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from slvr_model.mgrpo.settings.judge import JudgeConfig
from tests.calls import MODEL, completion, scripted

T = TypeVar("T")
PATIENCE = 120.0
"""Seconds after which something that ought to happen does not: for the slowest machine."""


class Put(NamedTuple):
    """What a judge reads of an answer."""

    question: str
    right: str
    given: str


def settings(url: str, folder: Path, **changed: Any) -> JudgeConfig:
    """Of a judge at an address, whose scratch lies in the test's folder."""
    return JudgeConfig(**{"base_urls": [url], "model": MODEL, "scratch": folder / "scratch"} | changed)


def beside(reply: Callable[[int, dict[str, Any]], Any], work: Callable[[str], T]) -> tuple[T, list[dict[str, Any]]]:
    """(What some work gives that has a scripted server, what the server was sent)."""

    async def run() -> tuple[T, list[dict[str, Any]]]:
        async with scripted(reply) as server:
            return await asyncio.to_thread(work, server.url), server.bodies

    return asyncio.run(run())


def words_of(body: dict[str, Any]) -> str:
    """The user's message of a call."""
    told = body["messages"][-1]["content"]
    return str(told if isinstance(told, str) else told[0]["text"])


def put(body: dict[str, Any]) -> Put:
    """A call in its parts."""
    question, rest = words_of(body).removeprefix("Question: ").split("\nRight answer: ", 1)
    right, rest = rest.split("\nReply, between the lines:\n-----\n", 1)
    return Put(question, right, rest.removesuffix("\n-----"))


def verdict(word: str) -> dict[str, Any]:
    """A judge's reply."""
    return completion(json.dumps({"verdict": word}))


async def passed(happens: Callable[[], bool]) -> bool:
    """Wait until something has happened; False where it does not."""
    until = time.monotonic() + PATIENCE
    while not happens() and time.monotonic() < until:
        await asyncio.sleep(0.005)
    return happens()
