"""The wire form of a request, and what a reply says."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from slvr_data.requests.failures import BadReplyError
from slvr_data.requests.messages import Message, Request, Sampling, SentPicture

TEXT = 1 << 16
"""Characters of a reply's text: a longer one is not parsed, and only its beginning is kept. Of thoughts too."""
NAME = 200
"""Characters of a name that a server tells."""
COUNT = 1 << 53
"""No count of tokens is larger: JSON's numbers are exact up to here, and files hold them."""


@dataclass(frozen=True)
class Reply:
    """What came back from a server for one call, judged by nothing but its envelope."""

    text: str
    reasoning: str
    """What the model thought, where the server tells it apart: kept, never parsed."""
    finish_reason: str
    refusal: str
    """The model's own words, where it would not answer."""
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    """Of the prompt, found in the server's prefix cache."""
    model: str
    rejected: str = ""
    """What the server said with a status of 4xx; the rest is empty then."""
    overlong: str = ""
    """How long it is, where that is more than any good reply can be: its text is cut then, or was not read."""

    def check(self) -> None:
        """Raises `BadReplyError` for a reply whose text must not be parsed: 4xx, refusal, length, empty."""
        if self.rejected:
            raise BadReplyError("4xx", self.rejected)
        if self.refusal or self.finish_reason == "content_filter":
            raise BadReplyError("refusal", (self.refusal or "held back by the server's content filter")[:500])
        if self.overlong:
            raise BadReplyError("length", self.overlong)
        if self.finish_reason == "length":
            raise BadReplyError("length", f"cut after {self.completion_tokens} tokens")
        if not self.text.strip():
            raise BadReplyError("empty", f"no text (finish_reason {self.finish_reason!r})")


def rejected(model: str, evidence: str) -> Reply:
    """A reply with a status of 4xx."""
    return Reply("", "", "", "", 0, 0, 0, model, evidence)


class TooMuchError(Exception):
    """A body of a good status is longer than any good one."""

    def __init__(self, read: int) -> None:
        super().__init__(f"more than {read} bytes")
        self.read = read


def unread(bytes_read: int) -> Reply:
    """A reply that was given up after so many bytes."""
    return Reply("", "", "", "", 0, 0, 0, "", overlong=f"more than {bytes_read} bytes: not read to its end")


def chat_body(request: Request[Any], model: str, sampling: Sampling) -> bytes:
    """The JSON of a chat completion. Pictures go in as the data URLs they were encoded to once."""
    pieces = [f'{{"model":{json.dumps(model)},"messages":[']
    for number, message in enumerate(request.messages):
        pieces.append("," if number else "")
        pieces.extend(_message(message))
    pieces.append(
        f'],"temperature":{json.dumps(sampling.temperature)},"top_p":{json.dumps(sampling.top_p)},'
        f'"max_tokens":{sampling.max_tokens},"seed":{sampling.seed}'
    )
    if request.schema is not None:
        named = {"name": request.schema_name or "reply", "strict": True, "schema": request.schema}
        pieces.append(f',"response_format":{{"type":"json_schema","json_schema":{json.dumps(named)}}}')
    pieces.append("}")
    return "".join(pieces).encode()


def _message(message: Message) -> list[str]:
    role = json.dumps(message.role)
    if all(isinstance(part, str) for part in message.parts):  # the form that every server takes
        return [f'{{"role":{role},"content":{json.dumps("".join(map(str, message.parts)))}}}']
    pieces = [f'{{"role":{role},"content":[']
    for number, part in enumerate(message.parts):
        pieces.append("," if number else "")
        if isinstance(part, SentPicture):
            pieces += ['{"type":"image_url","image_url":{"url":"', part.url, '"}}']  # base64 needs no escapes
        else:
            pieces.append(f'{{"type":"text","text":{json.dumps(part)}}}')
    return [*pieces, "]}"]


def embeddings_body(texts: Sequence[str], model: str) -> bytes:
    """The JSON of a call for embeddings."""
    return json.dumps({"model": model, "input": list(texts), "encoding_format": "float"}).encode()


def parse_reply(data: Any, hidden: Callable[[str], str] = str) -> Reply:
    """A chat completion's JSON, decoded; `hidden` takes the key out of a text.

    Raises ValueError, saying what is missing, for anything else.
    """
    if not isinstance(data, Mapping):
        raise ValueError(f"{type(data).__name__} instead of an object")
    if not isinstance(choices := data.get("choices"), list) or not choices or not isinstance(choices[0], Mapping):
        raise ValueError(f"no choices ({said(data, hidden)})")
    message = choices[0].get("message")
    if not isinstance(message, Mapping):
        raise ValueError("a choice without a message")
    usage, text = data.get("usage"), _text(message.get("content"))
    return Reply(
        text=text[:TEXT],
        reasoning=_text(message.get("reasoning_content") or message.get("reasoning"))[:TEXT],
        finish_reason=str(choices[0].get("finish_reason") or "")[:NAME],
        refusal=_text(message.get("refusal")),
        prompt_tokens=_number(usage, "prompt_tokens"),
        completion_tokens=_number(usage, "completion_tokens"),
        cached_tokens=_number(usage, "prompt_tokens_details", "cached_tokens"),
        model=str(data.get("model") or "")[:NAME],
        overlong=f"{len(text)} characters, of which {TEXT} are kept" if len(text) > TEXT else "",
    )


def parse_embeddings(data: Any, count: int) -> tuple[list[list[float]], int]:
    """(`count` vectors in the order of their texts, tokens of the prompts). Raises ValueError for anything else."""
    if not isinstance(data, Mapping) or not isinstance(rows := data.get("data"), list):
        raise ValueError("no list of embeddings")
    vectors: list[list[float] | None] = [None] * count
    for position, row in enumerate(rows):
        vector = row.get("embedding") if isinstance(row, Mapping) else None
        index = row.get("index", position) if isinstance(row, Mapping) else None
        if not isinstance(vector, list) or not isinstance(index, int) or not 0 <= index < count:
            raise ValueError(f"row {position} is no embedding")
        vectors[index] = _vector(vector, position)
    whole = [vector for vector in vectors if vector]
    if len(whole) != count or len({len(vector) for vector in whole}) > 1:
        raise ValueError(f"{len(whole)} embeddings for {count} texts, or of several lengths")
    return whole, _number(data.get("usage"), "prompt_tokens")


def _vector(numbers: list[Any], position: int) -> list[float]:
    """The numbers of an embedding; null, which servers write for what is no number, as NaN. Raises ValueError."""
    kinds = set(map(type, numbers))
    if kinds == {float}:
        return numbers
    if odd := kinds - {float, int, type(None)}:
        raise ValueError(f"the embedding of row {position} holds a {min(kind.__name__ for kind in odd)}")
    try:
        return [math.nan if number is None else float(number) for number in numbers]
    except OverflowError:
        raise ValueError(f"the embedding of row {position} holds a number that is too large") from None


def said(data: Any, hidden: Callable[[str], str]) -> str:
    """The server's own words in an error's JSON, short: cut only when `hidden` has taken the key out."""
    for name in ("error", "message", "detail", "object"):
        if isinstance(data, Mapping) and data.get(name):
            data = data[name]
    return short(str(data), hidden)


def short(text: str, hidden: Callable[[str], str], most: int = 300) -> str:
    """The beginning of a text, on one line; half a key would be one too, so the key goes first."""
    return " ".join(hidden(text).split())[:most]


def _text(value: Any) -> str:
    if isinstance(value, list):  # content parts
        return "".join(_text(part.get("text")) for part in value if isinstance(part, Mapping))
    return value if isinstance(value, str) else ""


def _number(value: Any, *path: str) -> int:
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return int(value) if isinstance(value, int | float) and 0 <= value <= COUNT else 0
