"""A call to /v1/chat/completions as the stub reads it: texts, pictures, and what it costs in tokens."""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from PIL import Image, UnidentifiedImageError

PATCH = 28
"""Side of a picture's token in pixels."""
CHARACTERS = 4
"""Of a text's token."""
_NUMBER = r"\s*(-?\d+(?:\.\d+)?)\s*"
_BOX = re.compile(r"\[" + ",".join([_NUMBER] * 4) + r"\]")


class UnreadableError(Exception):
    """The call is not one that the server can serve."""


@dataclass(frozen=True)
class Picture:
    """A picture of a call."""

    sha: str
    width: int
    height: int
    data: bytes = field(repr=False)

    @property
    def tokens(self) -> int:
        """Of the prompt."""
        return -(-self.width // PATCH) * -(-self.height // PATCH)

    @property
    def mean_color(self) -> tuple[int, int, int]:
        """Of its pixels."""
        with Image.open(io.BytesIO(self.data)) as opened:
            small = opened.convert("RGB").resize((1, 1), Image.Resampling.BOX)
        red, green, blue = small.tobytes()
        return red, green, blue


@dataclass(frozen=True)
class Asked:
    """What a call asks for."""

    text: str
    """All texts of its user turns."""
    pictures: list[Picture]
    chain: list[tuple[str, int]]
    """Its parts in order: (hash of all up to this one, tokens of this one)."""
    schema: Mapping[str, Any] | None
    name: str | None
    """Of the schema."""
    seed: int
    max_tokens: int | None
    fields: Mapping[str, Any] = field(repr=False)
    """The whole body."""

    @property
    def box(self) -> list[float] | None:
        """The four numbers in brackets."""
        found = _BOX.search(self.text)
        return [float(found[n]) for n in range(1, 5)] if found else None

    @property
    def prompt_tokens(self) -> int:
        """Pictures by their size, texts by their length."""
        return sum(tokens for _, tokens in self.chain)


def read(body: Mapping[str, Any], sees: bool) -> Asked:
    """What `body` asks for; a server that does not see passes pictures over."""
    texts: list[str] = []
    pictures: list[Picture] = []
    chain: list[tuple[str, int]] = []
    running = hashlib.sha256()
    for message in body["messages"]:
        content = message.get("content") or ""
        parts: list[Any] = [{"type": "text", "text": content}] if isinstance(content, str) else content
        for part in parts:
            if part["type"] == "text":
                if message["role"] == "user":
                    texts.append(part["text"])
                mark, tokens = part["text"], -(-len(part["text"]) // CHARACTERS)
            elif not sees:
                continue
            else:
                pictures.append(picture_of(part["image_url"]["url"]))
                mark, tokens = pictures[-1].sha, pictures[-1].tokens
            running.update(f"{message['role']} {mark}\n".encode())
            chain.append((running.hexdigest(), tokens))
    form = body.get("response_format") or {}
    named = form.get("json_schema") or {}
    schema = named.get("schema") if form.get("type") == "json_schema" else None
    if form.get("type") == "json_object":
        schema = {"type": "object", "properties": {"answer": {"type": "string"}}}
    most = body.get("max_completion_tokens", body.get("max_tokens"))
    seed = body.get("seed")
    return Asked("\n".join(texts), pictures, chain, schema, named.get("name"), seed or 0, most, body)


@lru_cache(256)
def picture_of(url: str) -> Picture:
    """The picture of a data URL.

    Raises:
        UnreadableError: it is no data URL, or no picture.
    """
    head, _, data = url.partition(";base64,")
    if not head.startswith("data:image/"):
        raise UnreadableError("Cannot load local or remote files: send a data URL")
    try:
        raw = base64.b64decode(data, validate=True)
        with Image.open(io.BytesIO(raw)) as opened:
            width, height = opened.size
    except (binascii.Error, UnidentifiedImageError, OSError) as error:
        raise UnreadableError(f"cannot identify image file: {error}") from None
    return Picture(hashlib.sha256(raw).hexdigest(), width, height, raw)


class PrefixCache:
    """Which prompts' beginnings are still in the KV cache: the last `tokens` tokens used, beside what runs."""

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens
        self.queries = self.hits = 0
        self.held: OrderedDict[str, int] = OrderedDict()
        self._sum = 0

    def look_up(self, asked: Asked) -> int:
        """Tokens of the prompt that need not be computed; the whole prompt is in the cache from now on."""
        self.queries += asked.prompt_tokens
        cached = 0
        missed = False
        for mark, tokens in asked.chain:
            if mark in self.held and not missed:
                cached += tokens
                self.held.move_to_end(mark)
                continue
            missed = True
            self._sum += tokens - self.held.pop(mark, 0)
            self.held[mark] = tokens
        while self._sum > self.tokens and self.held:
            self._sum -= self.held.popitem(last=False)[1]
        self.hits += cached
        return cached

    def usage(self, running: int) -> float:
        """Share of the KV cache in use: what running calls hold. What is only kept for the next counts as free."""
        return running / max(1, running + self.tokens)
