"""The attempts of a request: how each is sampled, what its reply is worth, and how it is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar

from slvr_data.requests.failures import POLICIES, BadReplyError, Failed
from slvr_data.requests.messages import Request, Sampling
from slvr_data.requests.replies import StoredReply
from slvr_data.requests.wire import Reply

T = TypeVar("T")

REPLAYED: tuple[Failed | None, ...] = (None, "malformed", "schema")
"""Stored replies that `accept` is asked about again: what is accepted is code, and may have changed since."""


def sampling_of(configured: Sampling, failures: Sequence[Failed]) -> Sampling:
    """How the attempt after `failures` is sampled: a pure function of what was asked and how it went wrong.

    The seed rises by one with each attempt. After a reply that was cut at the limit the next may be a quarter
    shorter, down to half of the configured cap: a model that rambled to the limit is not given room to do it
    again, and a schema's bounds see to it that a whole reply fits.
    """
    cap = configured.max_tokens
    for failure in failures:
        if POLICIES[failure].shorter:
            cap = max(cap * 3 // 4, configured.max_tokens // 2, 1)
    return replace(configured, seed=configured.seed + len(failures), max_tokens=cap)


def judged(request: Request[T], reply: Reply) -> T:
    """The value of a reply that came just now. Raises BadReplyError."""
    reply.check()
    return request.accept(reply.text)


def judged_again(request: Request[T], stored: StoredReply) -> T:
    """The value of a stored reply. Raises BadReplyError."""
    if stored.failure in REPLAYED:
        return request.accept(stored.text)
    assert stored.failure is not None
    raise BadReplyError(stored.failure, stored.evidence or stored.failure)


def kept(
    request: Request[Any],
    key: str,
    base_key: str,
    attempt: int,
    reply: Reply,
    bad: BadReplyError | None,
    seconds: float,
) -> StoredReply:
    """A reply as it is stored."""
    return StoredReply(
        key=key,
        base_key=base_key,
        attempt=attempt,
        purpose=request.purpose,
        failure=bad.failure if bad else None,
        text=reply.text,
        reasoning=reply.reasoning or None,
        finish_reason=reply.finish_reason or None,
        evidence=bad.evidence if bad else None,
        prompt_tokens=reply.prompt_tokens,
        completion_tokens=reply.completion_tokens,
        cached_tokens=reply.cached_tokens,
        seconds=seconds,
        model=reply.model,
    )
