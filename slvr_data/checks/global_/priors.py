"""`prior`: questions that can be answered without the picture, because the answer is nearly always the same.

Queries of one facet about one kind of thing ("What color is the ... banana?") are looked at together: a
guesser who knows the most frequent answer is right on its share of them. Where that share is above
`MOST`, queries with the frequent answer are turned away until it is not, those with the greatest hash of
their id first: the choice depends on no order.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Iterator
from typing import Any

from slvr_data.spilled import room, temporary_database

NAME = "prior"
LEAST_QUERIES = 20
"""Fewer queries of one kind tell nothing."""
MOST = 0.75
"""Share of one answer up to which the picture is needed."""


def answerable_blind(groups: Iterable[dict[str, Any]]) -> list[dict[str, str]]:
    """Verdicts against queries, sorted by query_id: `query_id`, `check`, `reason` and `evidence`.

    `groups` are those of `QueryGroup`; only generated queries with choices are looked at.
    """
    with room():
        seen = temporary_database()
        seen.execute("CREATE TABLE queries (facet TEXT, kind TEXT, answer TEXT, query_id TEXT)")
        seen.execute("BEGIN")
        seen.executemany("INSERT INTO queries VALUES (?, ?, ?, ?)", _chosen(groups))
        seen.execute("COMMIT")
        seen.execute("CREATE INDEX by_kind ON queries (facet, kind, answer)")
        verdicts = list(_verdicts(seen))
    return sorted(verdicts, key=lambda verdict: verdict["query_id"])


def _chosen(groups: Iterable[dict[str, Any]]) -> Iterator[tuple[str, str, str, str]]:
    """(facet, kind, answer, query_id) of the queries that are looked at."""
    for group in groups:
        for query in group["queries"]:
            if query["origin"] == "generated" and query["choices"]:
                yield query["facet"], _kind(query["question"]), query["answer"], query["query_id"]


def _verdicts(seen: sqlite3.Connection) -> Iterator[dict[str, str]]:
    many = "SELECT facet, kind FROM queries GROUP BY facet, kind HAVING count(*) >= ?"
    of_kind = "FROM queries WHERE facet = ? AND kind = ?"
    for kind in seen.execute(many, (LEAST_QUERIES,)).fetchall():
        counts = dict(seen.execute(f"SELECT answer, count(*) {of_kind} GROUP BY answer", kind))
        answer = _too_frequent(counts)
        if answer is not None:
            ids = [row[0] for row in seen.execute(f"SELECT query_id {of_kind} AND answer = ?", (*kind, answer))]
            yield from _excess(kind, answer, ids, sum(counts.values()))


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


def _too_frequent(counts: dict[str, int]) -> str | None:
    """The answer that a guesser would give and too often be right with."""
    answer, most = min(counts.items(), key=lambda item: (-item[1], item[0]))
    return answer if most > MOST * sum(counts.values()) else None


def _excess(kind: tuple[str, str], answer: str, ids: list[str], total: int) -> list[dict[str, str]]:
    most = len(ids)
    keep = int(MOST / (1 - MOST) * (total - most))
    ordered = sorted(ids, key=lambda query_id: hashlib.sha256(query_id.encode()).digest())
    evidence = f"{most} of {total} questions like {kind[1]!r} ({kind[0]}) have the answer {answer!r}"
    return [
        {"query_id": query_id, "check": NAME, "reason": "answerable-blind", "evidence": evidence}
        for query_id in ordered[keep:]
    ]
