"""What is asked of a server, and what comes back. The wire form and the key of a request are derived from these."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Generic, Literal, TypeVar

from slvr_data.requests.failures import Failed

T = TypeVar("T")


@dataclass(frozen=True)
class SentPicture:
    """A picture as it is sent: encoded once, byte-identical in every call on it."""

    reference: str
    """What stands for its bytes in a request's key, e.g. "image 1f0c.. jpeg-1 1092x728"."""
    data: bytes = field(repr=False)
    """The encoded file."""
    width: int
    """In pixels, as sent."""
    height: int
    media_type: str = "image/jpeg"

    @cached_property
    def url(self) -> str:
        """The data URL, made once."""
        return f"data:{self.media_type};base64,{base64.b64encode(self.data).decode()}"


@dataclass(frozen=True)
class Message:
    """One turn: texts and pictures in their order."""

    role: Literal["system", "user", "assistant"]
    parts: tuple[str | SentPicture, ...]


@dataclass(frozen=True)
class Sampling:
    """How the model draws its tokens, as configured; later attempts derive theirs from it."""

    temperature: float
    top_p: float
    max_tokens: int
    seed: int


@dataclass(frozen=True)
class Request(Generic[T]):
    """One call. Two requests with equal keys are one call, whoever asks."""

    purpose: str
    """For the ledger: "profile", "questions", "blind", ..."""
    group: str
    """Calls of one group (a picture's id) go close together to one replica."""
    messages: tuple[Message, ...]
    sampling: Sampling
    prompt_version: str
    """Name and hash of the template (`slvr_data.prompts`)."""
    context: Mapping[str, Any]
    """What else belongs to the key: image_id, box, crop settings, encoder version. JSON values."""
    accept: Callable[[str], T]
    """Turns the reply's text into its value, or raises `BadReplyError`."""
    schema_name: str | None = None
    schema: Mapping[str, Any] | None = None
    """JSON schema of the reply; sent as `response_format: json_schema`."""


@dataclass(frozen=True)
class Answer(Generic[T]):
    """A reply that was accepted."""

    value: T
    key: str
    """Of the request, without its attempt: what provenance holds."""
    attempt: int
    reused: bool
    """It came from the store, no call was made."""


@dataclass(frozen=True)
class Refusal:
    """All attempts came to nothing: the region is rejected."""

    key: str
    failure: Failed
    """Class of the last attempt."""
    evidence: str
    """What was wrong with it, in words."""
    reply: str
    """The last reply."""
