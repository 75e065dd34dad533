"""`vague`: a question names what it asks about, and its answer says something."""

from __future__ import annotations

import re

from slvr_data.checks.base import failed, passed
from slvr_data.checks.queries.base import CheckedGroup, wordings
from slvr_data.checks.vague import EMPTY_WORDS, VAGUE_NOUNS, bare
from slvr_data.schema import Query, Verdict

NAME = "vague"
_NOUNS = "|".join(sorted(word for word in VAGUE_NOUNS if word not in ("it", "this", "that", "one", "part", "things")))
_REFERENCE = re.compile(rf"\b(?:the|this|that|some) (?:{_NOUNS})\b(?!s)", re.I)
_ASKED = re.compile(r"\bthe shape of\b", re.I)
"""Asks for a shape, and calls nothing so."""
_PRONOUN = re.compile(r"^(?:what|which|where|how|who)\b[^,]*\b(?:is|are|does|do|of) (?:it|this|that)\b[^a-z]*$", re.I)


def check_vague(checked: CheckedGroup, query: Query) -> Verdict:
    """Fails with "answer-vague", or for a generated question with "reference-vague".

    A source may point at its box and ask "What is this?". A word that is the region's label is not vague.
    """
    said, label = bare(query.answer), checked.region.label
    if query.facet != "visible_text" and said != label and (said in EMPTY_WORDS or said in VAGUE_NOUNS):
        return failed(NAME, "answer-vague", f"{query.answer!r} says nothing")
    if query.origin == "source":
        return passed(NAME)
    for text in wordings(query):
        found = _REFERENCE.search(_ASKED.sub("", text)) or _PRONOUN.search(text)
        if found and not (label and label in found.group().lower()):
            return failed(NAME, "reference-vague", f"{found.group()!r} names nothing")
    return passed(NAME)
