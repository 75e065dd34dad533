"""Reading noun phrases: "the second striped cup from the left", "the dog left of the red car".

A small grammar, separate from the one that writes references: article, adjectives, a name that the
picture knows, and a tail that places it. What does not fit is not read, and says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from slvr_data.colors import COLORS
from slvr_data.geometry import POSITIONS, RELATIONS

ORDINALS = {word: i + 1 for i, word in enumerate(("first", "second", "third", "fourth", "fifth", "sixth", "seventh"))}
SUPERLATIVES = {
    "largest": "largest", "biggest": "largest", "smallest": "smallest", "leftmost": "leftmost", "left": "leftmost",
    "rightmost": "rightmost", "right": "rightmost", "topmost": "topmost", "top": "topmost", "upper": "topmost",
    "bottommost": "bottommost", "bottom": "bottommost", "lower": "bottommost",
}  # fmt: skip
PATTERNS = frozenset({"striped", "dotted", "checkered", "solid"})
SIZES = frozenset({"small", "medium", "large"})
_SIDES = frozenset({"left", "right", "top", "bottom"})
_NO_REFERENCE = frozenset(
    [
        "picture", "image", "photo", "photograph", "scene", "color", "colors", "colour", "colours", "number", "shape",
        "size", "orientation", "direction", "axis", "surface", "pattern", "pose", "text", "letters", "word", "words",
        "depth", "part", "things", "material", "answer", "position", "side", "left", "right", "top", "bottom", "center",
        "middle", "background", "foreground", "edge", "corner", "border", "ground", "outline", "space", "view",
    ]
)  # fmt: skip
"""Nouns behind an article that are no thing of the picture."""
_MAY_FOLLOW = frozenset(
    [
        "is", "are", "was", "were", "have", "has", "do", "does", "show", "shows", "look", "looks", "lie", "lies", "say",
        "says", "bear", "bears", "run", "runs", "doing", "holding", "touching", "wearing", "carrying", "riding",
        "stretched", "oriented", "placed", "shown", "made", "facing", "pointing", "taken", "seen", "found", "inside",
        "held", "called", "and", "located", "be",
    ]
)  # fmt: skip
"""Words that a noun phrase ends before."""
_IN = (("in", "the", "picture"), ("in", "the", "image"), ("in", "depth"), ("in", "relation"))
_LONGEST = 3
"""Words of a name that the picture does not know, with its adjectives."""
_YES_NO = frozenset({"is", "are", "does", "do", "can", "was", "were", "has", "have"})
_TOKEN = re.compile(r"[\w'/-]+|[?.,:;!]")


@dataclass(frozen=True)
class Phrase:
    """A noun phrase. `name` is None where the noun is none that the picture knows; `text` is how it reads."""

    text: str
    name: str | None
    colors: tuple[str, ...] = ()
    pattern: str | None = None
    size: str | None = None
    superlative: str | None = None
    ordinal: tuple[int, str] | None = None
    """A place in an order, and the side from which it counts."""
    position: str | None = None
    relation: str | None = None
    target: Phrase | None = None


class UnreadableError(Exception):
    """A noun phrase that the grammar does not know."""


def phrases(question: str, names: Iterable[str]) -> list[Phrase]:
    """All definite noun phrases of a question, in order; targets of others are inside these.

    Raises:
        UnreadableError: one goes on in a way that the grammar does not know.
    """
    tokens = _TOKEN.findall(question.lower())
    reader = _Reader(tokens, sorted((name.split(" ") for name in names), key=len, reverse=True))
    found = []
    at = 0
    while at < len(tokens):
        if tokens[at] != "the":
            at += 1
            continue
        phrase, at = reader.phrase(at + 1)
        if phrase is not None:
            found.append(phrase)
    return found


class _Reader:
    """Reads at places of a list of tokens."""

    def __init__(self, tokens: list[str], names: list[list[str]]) -> None:
        self.tokens, self.names = tokens, names
        self.tails = bool(tokens) and tokens[0] not in _YES_NO  # "Is the cup left of the plate?" asks, not tells

    def phrase(self, start: int) -> tuple[Phrase | None, int]:
        """The phrase whose article stands before `start`, and where it ends; None for what is no reference."""
        words: dict[str, object] = {}
        at = self._adjectives(start, words)
        name = self._name(at)
        if name is None and words:  # "the orange" may be a fruit
            at, words = start, {}
            name = self._name(at)
        if name is None:
            if any(token in _NO_REFERENCE for token in self.tokens[start : start + 3]):
                return None, start
            end = self._unknown(start)
            return Phrase(" ".join(self.tokens[start:end]), None), end
        at += len(name)
        at = self._tail(at, words)
        return Phrase(" ".join(self.tokens[start:at]), " ".join(name), **words), at  # type: ignore[arg-type]

    def _adjectives(self, at: int, words: dict[str, object]) -> int:
        while at < len(self.tokens):
            token = self.tokens[at]
            if self._name(at) is not None and token not in SUPERLATIVES:
                return at
            if token in COLORS:
                words["colors"] = (*words.get("colors", ()), token)  # type: ignore[misc]
            elif token in PATTERNS:
                words["pattern"] = token
            elif token in SIZES:
                words["size"] = token
            elif token in SUPERLATIVES:
                words["superlative"] = SUPERLATIVES[token]
            elif token in ORDINALS:
                words["ordinal"] = (ORDINALS[token], "left")
            elif not (token in ("and", ",") and "colors" in words and self.tokens[at + 1 : at + 2] != []):
                return at
            at += 1
        return at

    def _name(self, at: int) -> list[str] | None:
        """The longest known name at a place, where a noun phrase can end or go on behind it."""
        for name in self.names:
            if self.tokens[at : at + len(name)] == name and self._ends(at + len(name)):
                return name
        return None

    def _ends(self, at: int) -> bool:
        rest = self.tokens[at:]
        if not rest or not rest[0][0].isalnum() or rest[0] in _MAY_FOLLOW:
            return True
        if any(tuple(rest[: len(words)]) == words for words in _IN) or (rest[0] == "in" and rest[1:2] in ([], ["?"])):
            return True
        return rest[0] == "from" or rest[0] == "at" or self._relation(at) is not None

    def _unknown(self, at: int) -> int:
        """Where a noun that the picture does not know ends."""
        end = at
        while end < len(self.tokens) and not self._ends(end):
            end += 1
        words = self.tokens[at:end]
        if not 0 < len(words) <= _LONGEST or any(
            name == words[i : i + len(name)] for name in self.names for i in range(len(words))
        ):
            raise UnreadableError(" ".join(words))
        return end

    def _relation(self, at: int) -> tuple[str, int] | None:
        for kind in RELATIONS:
            words = [*kind.split(" "), "the"]
            if self.tokens[at : at + len(words)] == words:
                return kind, at + len(words)
        return None

    def _tail(self, at: int, words: dict[str, object]) -> int:
        """Read what places the thing."""
        rest = self.tokens[at:]
        if rest[:2] == ["from", "the"] and rest[2:3] and rest[2] in _SIDES and "ordinal" in words:
            words["ordinal"] = (words["ordinal"][0], rest[2])  # type: ignore[index]
            return at + 3
        if rest[:2] == ["at", "the"]:
            for place in sorted(POSITIONS, key=len, reverse=True):
                words_of = [*place.split(" "), "of", "the"]
                if rest[2 : 2 + len(words_of)] == words_of:
                    if self.tails:
                        words["position"] = place
                    return at + 3 + len(words_of)
        relation = self._relation(at)
        if relation is not None:
            if not self.tails:
                return at
            kind, after = relation
            target, end = self.phrase(after)
            if target is None or target.name is None:
                raise UnreadableError(" ".join(self.tokens[at:end]))
            words["relation"], words["target"] = kind, target
            return end
        if rest and rest[0] in ("from", "at"):
            raise UnreadableError(" ".join(rest[:4]))
        return at
