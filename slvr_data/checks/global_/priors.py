"""`prior`: questions that can be answered without the picture, because the answer is nearly always the same.

Queries of one facet about one kind of thing ("What color is the ... banana?") are looked at together: a
guesser who knows the most frequent answer is right on its share of them. Where that share is above
`MOST`, queries with the frequent answer are turned away until it is not, those with the greatest hash of
their id first: the choice depends on no order.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from typing import Any

NAME = "prior"
LEAST_QUERIES = 20
"""Fewer queries of one kind tell nothing."""
MOST = 0.75
"""Share of one answer up to which the picture is needed."""


def answerable_blind(groups: Iterable[dict[str, Any]]) -> list[dict[str, str]]:
    """Verdicts against queries, sorted by query_id: `query_id`, `check`, `reason` and `evidence`.

    `groups` are those of `QueryGroup`; only generated queries with choices are looked at.
    """
    kinds: dict[tuple[str, str], dict[str, list[str]]] = {}
    for group in groups:
        for query in group["queries"]:
            if query["origin"] == "generated" and query["choices"]:
                kind = query["facet"], _kind(query["question"])
                kinds.setdefault(kind, {}).setdefault(query["answer"], []).append(query["query_id"])
    verdicts = [verdict for kind, answers in kinds.items() for verdict in _excess(kind, answers)]
    return sorted(verdicts, key=lambda verdict: verdict["query_id"])


_PLACES = frozenset(
    [
        "leftmost",
        "rightmost",
        "topmost",
        "bottommost",
        "largest",
        "smallest",
        "first",
        "second",
        "third",
        "fourth",
        "fifth",
        "sixth",
    ]
)


def _kind(question: str) -> str:
    """The question without the words that only single a region out by its place or size."""
    return " ".join(word for word in question.lower().split() if word not in _PLACES)


def _excess(kind: tuple[str, str], answers: dict[str, list[str]]) -> list[dict[str, str]]:
    counts = Counter({answer: len(ids) for answer, ids in answers.items()})
    total = sum(counts.values())
    answer, most = min(counts.items(), key=lambda item: (-item[1], item[0]))
    if total < LEAST_QUERIES or most <= MOST * total:
        return []
    keep = int(MOST / (1 - MOST) * (total - most))
    ordered = sorted(answers[answer], key=lambda query_id: hashlib.sha256(query_id.encode()).digest())
    evidence = f"{most} of {total} questions like {kind[1]!r} ({kind[0]}) have the answer {answer!r}"
    return [
        {"query_id": query_id, "check": NAME, "reason": "answerable-blind", "evidence": evidence}
        for query_id in ordered[keep:]
    ]
