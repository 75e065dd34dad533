"""Embeddings of profiles: what names their model, and the local one that needs no server.

The local embedding is a bag of the attributes that a profile knows, hashed with signs into a fixed number of
places. Counts are whole numbers and the one division and rounding are those of IEEE 754, so that the same
profile has the same bytes on every machine.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from slvr_data.errors import UsageError
from slvr_data.schema import AttributeProfile, Link

LOCAL = "local-hash-1"
"""Name of the local model; a change of its numbers gets another."""
DIMENSION = 256
"""Of the local model unless told otherwise."""
MAX_DIMENSION = 1 << 16

Vector = npt.NDArray[np.float16]
"""One embedding, [dimension]."""


class EmbeddingModel(BaseModel):
    """Which model a set's embeddings are of: a server's, or the local one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    """Its name; "local-hash-1:256" for the local one of 256 dimensions."""
    revision: str | None = None
    """Of its weights."""
    dimension: int = Field(ge=1, le=MAX_DIMENSION)
    """Numbers per embedding."""

    @property
    def local(self) -> bool:
        """It needs no server."""
        return is_local(self.model)


def is_local(model: str) -> bool:
    """Whether a name is that of the local model, with or without its dimension."""
    return model == LOCAL or model.startswith(f"{LOCAL}:")


def local_model(name: str = LOCAL, dimension: int | None = None) -> EmbeddingModel:
    """The local model, by its name and the dimension that the name or `dimension` gives.

    Raises:
        UsageError: the name does not end in a number, or the two differ.
    """
    _, _, text = name.partition(":")
    if text and not text.isdecimal():
        raise UsageError(f"--model {name}: the local model is {LOCAL}:N, N being its dimension, e.g. {LOCAL}:256")
    told = int(text) if text else None
    if told is not None and dimension not in (None, told):
        raise UsageError(f"--model {name} has {told} dimensions, --dim says {dimension}: give one of them")
    wanted = told or dimension or DIMENSION
    if not 1 <= wanted <= MAX_DIMENSION or told == 0:
        raise UsageError(f"the local model has 1 to {MAX_DIMENSION} dimensions, not {text or dimension}")
    return EmbeddingModel(model=f"{LOCAL}:{wanted}", dimension=wanted)


def local_embedding(profile: AttributeProfile, dimension: int = DIMENSION) -> Vector:
    """The local embedding of a profile: [dimension], of length 1. A profile of which nothing is known has one too."""
    counts = np.zeros(dimension, np.int64)
    for token in attribute_tokens(profile):
        place, sign = _placed(token, dimension)
        counts[place] += sign
    if not counts.any():  # nothing is known, or what is known has cancelled out
        counts[_placed("nothing", dimension)[0]] = 1
    length = math.sqrt(int(np.dot(counts, counts)))
    return (counts / length).astype(np.float16)


def attribute_tokens(profile: AttributeProfile) -> Iterator[str]:
    """What a profile knows as "field=value"; free texts also word by word ("field~word")."""
    look, place = profile.appearance, profile.spatial
    yield from _text("entity", look.entity)
    yield from _list("color", look.colors)
    yield from _text("shape", look.shape)
    yield from _text("material", look.material)
    yield from _value("size", look.size)
    yield from _text("action", profile.action)
    yield from _links("interaction", profile.interaction)
    yield from _text("position", place.position)
    yield from _text("orientation", place.orientation)
    yield from _value("depth", place.depth)
    yield from _links("relation", place.relations)
    yield from _list("text", profile.visible_text, words=True)
    count = profile.peers.same_label_count
    yield from _value("count", None if count is None else str(count))


def _value(field: str, value: str | None) -> Iterator[str]:
    if value is not None:
        yield f"{field}={_plain(value)}"


def _text(field: str, value: str | None) -> Iterator[str]:
    if value is not None:
        plain = _plain(value)
        yield f"{field}={plain}"
        yield from (f"{field}~{word}" for word in re.findall(r"\w+", plain))


def _list(field: str, values: list[str] | None, words: bool = False) -> Iterator[str]:
    if values == []:
        yield f"{field}=none"
    for value in values or ():
        yield from _text(field, value) if words else _value(field, value)


def _links(field: str, links: list[Link] | None) -> Iterator[str]:
    if links == []:
        yield f"{field}=none"
    for link in links or ():
        kind, target = _plain(link.kind), _plain(link.target)
        yield from (f"{field}={kind}", f"{field}={kind}={target}", f"{field}.target={target}")


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


@lru_cache(maxsize=1 << 16)
def _placed(token: str, dimension: int) -> tuple[int, int]:
    """A token's place in the vector, and its sign."""
    number = int.from_bytes(hashlib.blake2b(token.encode(), digest_size=8).digest(), "big")
    return (number >> 1) % dimension, 1 if number & 1 else -1
