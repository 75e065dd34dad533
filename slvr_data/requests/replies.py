"""A reply as it is kept."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

from slvr_data.requests.failures import Failed


@dataclass(frozen=True, slots=True)
class StoredReply:
    """A reply that came, good or bad, and what it cost. Nothing of how it was asked for (no address, no API key)."""

    key: str
    """Of the request with its attempt."""
    base_key: str
    """Of the request without it."""
    attempt: int
    """From 0."""
    purpose: str
    failure: Failed | None = None
    """Why it cannot be used; None where it was accepted."""
    text: str = ""
    reasoning: str | None = None
    """What the model thought aloud: kept, never parsed."""
    finish_reason: str | None = None
    evidence: str | None = None
    """What is wrong with it, in words."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    """Of the prompt, those that the server had in its cache."""
    seconds: float = 0.0
    """From the call to the whole reply."""
    model: str = ""
    """As the server names it."""


COLUMNS = tuple(field.name for field in fields(StoredReply))


def storable(reply: StoredReply) -> StoredReply:
    """The reply with halves of surrogate pairs, which no file can hold, replaced."""
    changed: dict[str, Any] = {}
    for name in COLUMNS:
        value = getattr(reply, name)
        if isinstance(value, str) and not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                changed[name] = value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return replace(reply, **changed) if changed else reply
