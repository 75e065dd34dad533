"""What can go wrong with a call, and what is done about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from slvr_data.errors import RunError, SlvrError

Failed = Literal[
    "timeout", "refused", "reset", "429", "5xx", "garbled",  # no reply came: the call is made again
    "4xx", "malformed", "schema", "length", "empty", "refusal",  # a reply came and was bad: another attempt
]  # fmt: skip


@dataclass(frozen=True)
class Policy:
    """How a class of failures is answered."""

    replied: bool
    """A reply came: it is stored, and the next call is another attempt with another seed."""
    limits: bool = False
    """The server has too much to do: concurrency is lowered where nothing better is known."""
    shorter: bool = False
    """The next attempt asks for less: a lower cap on tokens."""


POLICIES: dict[Failed, Policy] = {
    "timeout": Policy(replied=False, limits=True),
    "refused": Policy(replied=False),
    "reset": Policy(replied=False),
    "429": Policy(replied=False, limits=True),
    "5xx": Policy(replied=False, limits=True),
    "garbled": Policy(replied=False),
    "4xx": Policy(replied=True),
    "malformed": Policy(replied=True),
    "schema": Policy(replied=True),
    "length": Policy(replied=True, shorter=True),
    "empty": Policy(replied=True),
    "refusal": Policy(replied=True),
}


class BadReplyError(Exception):
    """A reply that came and cannot be used: its class, and what is wrong with it in words."""

    def __init__(self, failure: Failed, evidence: str) -> None:
        super().__init__(evidence)
        self.failure = failure
        self.evidence = evidence


class UnfinishedError(SlvrError):
    """Transport, server or budget kept work from being finished: the same command takes it up (exit code 3)."""

    exit_code = 3


class NoReplyError(UnfinishedError):
    """No reply came to a request, however often it was called: the class of the last failure, and when it began."""

    def __init__(self, said: str, failure: Failed = "timeout", began: float = 0.0) -> None:
        """`began`: monotonic seconds."""
        super().__init__(said)
        self.failure = failure
        self.began = began


class BudgetError(UnfinishedError):
    """The budget of calls or tokens of this run is spent: nothing more is asked (exit code 3)."""


class ServerError(RunError):
    """The server is plainly wrong (key, model, no vision, dead): going on would be of no use (exit code 1)."""
