"""Wrong choices: each wrong for this region, and where possible true of another region of the same picture,
so that looking at the wrong place costs the answer. All orders are seeded by the region's id.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from slvr_data import geometry
from slvr_data.colors import COLORS

_CONFUSABLE = (
    {"red", "orange"}, {"red", "pink"}, {"red", "brown"}, {"orange", "brown"}, {"orange", "yellow"},
    {"pink", "purple"}, {"purple", "blue"}, {"gray", "white"}, {"gray", "black"}, {"brown", "black"},
    {"yellow", "white"}, {"green", "blue"},
)  # fmt: skip
"""Pairs that people may disagree on: one is never offered beside the other."""

ACTIONS = (
    "standing", "waving", "lying", "leaning left", "leaning right", "pointing left", "pointing right", "pointing up",
    "pointing down",
)  # fmt: skip


def spread(words: Iterable[str], seed: str) -> list[str]:
    """The words in an order that depends on each word and the seed alone."""
    return sorted(dict.fromkeys(words), key=lambda word: hashlib.sha256(f"{seed}:{word}".encode()).digest())


def colors(mine: Sequence[str], elsewhere: Sequence[Sequence[str]]) -> list[str]:
    """Three colours, or pairs of colours where the thing has two; those of other regions first."""
    near = set(mine) | {c for pair in _CONFUSABLE if pair & set(mine) for c in pair}
    seed = "".join(mine)
    if len(mine) == 1:
        seen = [c for theirs in elsewhere for c in theirs if c not in near]
        return [*spread(seen, seed), *(c for c in spread(COLORS, seed) if c not in near and c not in seen)][:3]
    seen = [" and ".join(theirs) for theirs in elsewhere if len(theirs) == 2 and not set(theirs) <= near]
    free = [c for c in spread(COLORS, seed) if c not in near]
    made = [f"{mine[0]} and {free[0]}", f"{free[1]} and {mine[1]}", f"{free[2]} and {free[0]}"]
    found: dict[frozenset[str], str] = {}
    for pair in [*spread(seen, seed)[:1], *made]:
        found.setdefault(frozenset(pair.split(" and ")), pair)
    return list(found.values())[:3]


def positions(mine: str, elsewhere: Sequence[str], seed: str) -> list[str]:
    """Three other cells of the 3x3 grid; those where other regions are first."""
    seen = [p for p in spread(elsewhere, seed) if p != mine]
    return [*seen, *(p for p in spread(geometry.POSITIONS, seed) if p != mine and p not in seen)][:3]


def numbers(mine: int, seed: str) -> list[str]:
    """Three other numbers from 1 on, near to it."""
    near = [n for n in range(max(1, mine - 2), mine + 4) if n != mine]
    return spread([str(n) for n in near], seed)[:3]


def actions(mine: str, elsewhere: Sequence[str], seed: str) -> list[str]:
    """Three other actions, none of which is a finer or a coarser word for the same."""

    def apart(other: str) -> bool:
        return not (set(other.split()) & set(mine.split()) - {"pointing", "leaning"} or other in mine or mine in other)

    seen = [a for a in spread(elsewhere, seed) if apart(a)]
    return [*seen, *(a for a in spread(ACTIONS, seed) if apart(a) and a not in seen)][:3]


def texts(mine: str, elsewhere: Sequence[str], seed: str) -> list[str]:
    """Three other texts: those of other regions, then this one with characters exchanged."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ23456789"
    found = [t for t in spread(elsewhere, seed) if t != mine]
    digest = hashlib.sha256(f"{seed}:{mine}".encode()).digest()
    for byte in digest:
        place = byte % max(1, len(mine))
        other = mine[:place] + alphabet[(byte * 7 + len(found)) % len(alphabet)] + mine[place + 1 :]
        if other != mine and other not in found:
            found.append(other)
    return found[:3]
