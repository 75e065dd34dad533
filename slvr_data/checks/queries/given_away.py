"""`given_away`: a generated question does not say its own answer."""

from __future__ import annotations

import re

from slvr_data.checks.base import failed, not_applicable, passed
from slvr_data.checks.queries.base import CheckedGroup, normal, wordings
from slvr_data.schema import Query, Verdict

NAME = "given_away"
_IDIOM = re.compile(r"\bhow (?:large|big|small|tall|long|wide|high)\b", re.I)
"""Asks for a size without saying one."""


def check_given_away(checked: CheckedGroup, query: Query) -> Verdict:
    """Fails with "answer-in-question". A question that names all choices gives nothing away."""
    if query.origin == "source":
        return not_applicable(NAME)
    for text in wordings(query):
        asked = _IDIOM.sub("how", text)
        if query.facet != "visible_text":
            asked = normal(asked)
        if _says(asked, query.answer, query.facet) and not all(_says(asked, c, query.facet) for c in query.choices):
            return failed(NAME, "answer-in-question", f"{query.answer!r} stands in {text!r}")
    return passed(NAME)


def _says(text: str, answer: str, facet: str) -> bool:
    words = answer if facet == "visible_text" else normal(answer)
    return words in text and re.search(rf"(?<!\w){re.escape(words)}(?!\w)", text) is not None
