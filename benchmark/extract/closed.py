"""Open answers of closed kinds, where another of the kind is surely wrong: yes and no, numbers, basic colours."""

from __future__ import annotations

import re

from benchmark.extract.words import CHINESE, NUMBER_WORDS, bare, number_of, spelled
from slvr_data.colors import COLORS

LONGEST_ANSWER = 8
"""Words of an answer that is told by its form alone."""
QUANTITY = re.compile(rf"(?<![\w.,/-])(?:[-−]?\d+(?:[.,]\d+)*|{NUMBER_WORDS})(?![\w%/]|[.,]\d)", re.I)
"""A number that stands alone."""

_UNSURE = re.compile(r"\b(?:not|or|than|least|most|between)\b|n't\b", re.I)
_SENTENCE = re.compile(r"[^.!?;\n]+(?:\.\d+[^.!?;\n]*)*")
_TOTAL = re.compile(
    r"\W*(?:(?:so|thus|therefore|hence|and)\b\W*)?(?:(?:in total|altogether|the total|total)\b|"
    r"[^,]{1,40}\b(?:in total|altogether)\W*$)",
    re.I,
)
_ON_THE_WAY = re.compile(
    r"\s*(?:(?:on|in|at|near|behind|beside|under|above|below|more|and|plus)\b|[,+]\s*\w|\+|$)", re.I
)
_COLOR = "|".join(COLORS)
_SHADE = r"(?P<shade>(?:(?:dark|light|bright|deep|pale|vivid)\s+)?)"
_IS = r"(?:is|are|was|were|looks?|appears?|seems?)(?:\s+to\s+be)?"
_IT = rf"(?:(?:the\s+)?(?:answer|color)|it|this|that|they|(?:the|its|his|her|their)\s+(?:\w+\s+){{1,3}}?)\s*{_IS}"
_NOT = rf"(?:not\s+(?:an?\s+)?(?:{_COLOR}))"
_OTHER_COLOR = re.compile(
    rf"(?:(?:{_IT}\s+)?{_NOT}\s*(?:[,;.]\s*(?:but\s+)?|\bbut\s+|\s-\s))?(?:(?:it's|that's|{_IT})\s+)?"
    rf"(?:clearly\s+|just\s+)?{_SHADE}(?P<color>{_COLOR})(?:\s+in\s+color)?(?:\s*,?\s*(?:and\s+)?{_NOT})?[\s.!]*"
)
_NEAR = frozenset(
    frozenset((color, other))
    for color, others in (
        ("red", ("pink", "brown", "orange", "purple")),
        ("orange", ("brown", "yellow", "pink")),
        ("yellow", ("brown", "green")),
        ("green", ("blue", "brown")),
        ("purple", ("blue", "pink", "brown")),
        ("pink", ("brown",)),
    )
    for other in others
)
"""Colours that a shade of one may be called the other: "light red" and pink."""
_COLORLESS = frozenset(["black", "white", "gray"])
"""Dark and pale shades of any colour may be called one of these."""


def another(said: str, expected: str | None) -> str | None:
    """What a reply says instead, where an answer of a closed kind is expected and another of it is surely said.

    Args:
        said: the reply's final words, on one line.
        expected: the right answer.
    """
    if expected is None:
        return None
    kind = bare(expected)
    if kind in ("yes", "no"):
        first = re.match(r"\W*([a-z]+)\b\s*(?:$|[,.;:!—–-])", said, re.I)
        told = bare(first[1]) if first else ""
        return told if told in ("yes", "no") and told != kind else None
    if kind in COLORS:
        return _another_color(said, kind)
    return None if number_of(kind) is None else _another_number(said, kind)


def total(said: str) -> str | None:
    """The number that a reply's last sentence gives as the total of what it counted."""
    found = [part for part in _SENTENCE.findall(said) if part.strip(" ,:")]
    if not found or not _TOTAL.match(found[-1]) or _UNSURE.search(found[-1]):
        return None
    numbers = {bare(word) for word in QUANTITY.findall(found[-1])}
    return numbers.pop() if len(numbers) == 1 else None


def _another_number(said: str, kind: str) -> str | None:
    summed = total(said)
    if summed is not None:
        return summed if summed != kind and _only_on_the_way(said, kind) else None
    numbers = {bare(word) for word in QUANTITY.findall(said)} | {
        f"{CHINESE[sign]:g}" for sign in said if sign in CHINESE
    }
    if len(numbers) != 1 or kind in numbers or _UNSURE.search(said):
        return None
    return numbers.pop() if len(said.split()) <= 3 * LONGEST_ANSWER else None


def _only_on_the_way(said: str, kind: str) -> bool:
    """Whether the expected number is said of parts only ("two on the right"), not of a thing ("two red cups")."""
    return all(
        _ON_THE_WAY.match(said, found.end()) for found in QUANTITY.finditer(said) if bare(found[0]) == kind
    )  # fmt: skip


def _another_color(said: str, kind: str) -> str | None:
    """Another basic colour that is the whole of what a short reply says: "The car is dark blue."."""
    words = " ".join(spelled(said).lower().split())
    found = _OTHER_COLOR.fullmatch(words) if len(words) <= 120 else None
    if found is None or found["color"] == kind:
        return None
    if found["shade"] and (kind in _COLORLESS or found["color"] in _COLORLESS or {kind, found["color"]} in _NEAR):
        return None
    return found["color"]
