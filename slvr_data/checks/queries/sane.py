"""`sane`: questions, answers and choices are plain text of a reasonable length."""

from __future__ import annotations

import re
import unicodedata

from slvr_data.checks.base import failed, passed
from slvr_data.checks.queries.base import CheckedGroup, wordings
from slvr_data.schema import Query, Verdict

NAME = "sane"
MOST_CHARACTERS = 300
_MARKUP = re.compile(r"</?[A-Za-z!][^<>]*>|<\|[^|]*\|>|&(?:[a-z]+|#\d+);|```|\]\(|\[/?INST\]|#{3}")
_TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c")
"""Characters that turn the direction of writing."""


def check_sane(checked: CheckedGroup, query: Query) -> Verdict:
    """Fails with "text-empty", "text-too-long", "text-control", "text-direction" or "text-markup"."""
    answers = [query.answer, *query.choices]
    for name, texts in (("question", wordings(query)), ("answer", answers)):
        for text in texts:
            fault = _fault(text)
            if fault is not None:
                return failed(NAME, *fault, f"{name} {text[:80]!a}")
    return passed(NAME)


def _fault(text: str) -> tuple[str] | None:
    if not text.strip():
        return ("text-empty",)
    if len(text) > MOST_CHARACTERS:
        return ("text-too-long",)
    if text.isascii() and text.isprintable():
        return ("text-markup",) if _MARKUP.search(text) else None
    if any(character in _TURNING for character in text):
        return ("text-direction",)
    if any(unicodedata.category(character) in ("Cc", "Cs", "Cn", "Co") for character in text):
        return ("text-control",)
    return ("text-markup",) if _MARKUP.search(text) else None
