"""Choices that do not tell the answer, made without asking any model.

Queries are put into *blocks*. The k queries of a block (k from 4 down to 2) are of one facet, one template and one
*kind* (the same words of their own, as far as there are enough of them); all k offer the same k choices; each choice is
the right answer of exactly one of them, and each place in the order of choices holds the answer exactly once. So
whoever sees only the question, the choices and their order is right on exactly one query of k, whatever is answered.

A query whose answer is too frequent to find partners is left out; an item left with fewer than two queries is dropped,
and blocks are made anew of the rest, until nothing more is dropped. What is offered is true to the set: a choice is
either one of the query's own, or, where values exclude one another (`EXCLUSIVE`), one that the set itself offers beside
that answer under the same template. Choices only ever come in through such a swap; none is invented.
"""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

MOST_CHOICES, LEAST_CHOICES = 4, 2
LEAST_QUERIES = 2
"""Of an item."""
LEAST_OF_KIND = 40
"""Queries of a template on the same own words that are balanced among themselves; rarer ones are balanced together."""
EXCLUSIVE = frozenset({"color", "count", "position", "action", "visible_text"})
"""Facets whose values exclude one another, so that what is wrong beside an answer here is wrong beside it anywhere."""
TEXT = "visible_text"
"""Its values are too many to be met twice: any two texts exclude one another, unless one is part of the other."""
_LOOKED_AT = 32
"""Queries among which the one is taken that has most of a block's choices itself."""


@dataclass(frozen=True)
class Candidate:
    """A query with choices, before it is balanced."""

    query_id: str
    item_id: str
    facet: str
    template: str
    kinds: tuple[str, ...]
    """Its own words from the finest telling to the coarsest; the empty string, all of the template, comes last."""
    answer: str
    wrong: tuple[str, ...]
    """Its own wrong choices."""
    exclusive: bool
    """Whether wrong choices may be swapped for others that the set offers beside the answer."""


@dataclass(frozen=True)
class Block:
    """Queries that share their choices; `choices[query_id]` in the order shown."""

    facet: str
    template: str
    choices: Mapping[str, tuple[str, ...]]


@dataclass
class Balanced:
    """What is kept and why the rest is not."""

    blocks: list[Block] = field(default_factory=list)
    dropped: dict[str, str] = field(default_factory=dict)
    """query_id -> "one-answer" (its template has no other answer), "no-partner", "item-too-small" or "facet-full"."""


def balanced(candidates: Sequence[Candidate], open_queries: Mapping[str, int], seed: int) -> Balanced:
    """The blocks of all candidates that can be balanced; the same for any order of `candidates`.

    Args:
        candidates: queries with choices.
        open_queries: item_id -> number of its queries without choices, which stay and count towards its size.
        seed: of all orders.
    """
    ways = [_settled(candidates, open_queries, seed, giving_up) for giving_up in (False, True)]
    blocks, alive = max(ways, key=lambda way: sum(len(block.choices) for block in way[0]))
    kept = {query_id for block in blocks for query_id in block.choices}
    result = Balanced()
    answers: dict[tuple[str, str], set[str]] = defaultdict(set)
    for candidate in candidates:
        answers[candidate.facet, candidate.template].add(candidate.answer)
    for candidate in candidates:
        if candidate.query_id not in kept:
            alone = len(answers[candidate.facet, candidate.template]) == 1
            partner = "no-partner" if candidate.item_id in alive else "item-too-small"
            result.dropped[candidate.query_id] = "one-answer" if alone else partner
    result.blocks = blocks
    return result


def _settled(
    candidates: Sequence[Candidate], open_queries: Mapping[str, int], seed: int, giving_up: bool
) -> tuple[list[Block], set[str]]:
    """Blocks in which every item has enough queries, and the items that are left.

    Neither way is better everywhere: with many answers, items in which too little is left are dropped; with few,
    others are given up for them first (`_given_up`).
    """
    alive = {candidate.item_id for candidate in candidates}
    while True:
        left = [candidate for candidate in candidates if candidate.item_id in alive]
        blocks = _all_blocks(left, seed)
        kept = {query_id for block in blocks for query_id in block.choices}
        sizes = Counter(open_queries)
        sizes.update(candidate.item_id for candidate in left if candidate.query_id in kept)
        small = {item for item in alive if sizes[item] < LEAST_QUERIES}
        if not small:
            return blocks, alive
        alone = [c for c in left if c.query_id not in kept and c.item_id in small] if giving_up else []
        alive -= _given_up(alone, left, seed) or small


def _given_up(alone: Sequence[Candidate], left: Sequence[Candidate], seed: int) -> set[str]:
    """Items to give up in place of those that hold the queries `alone`, which found no partners.

    An item all of whose queries have the answer of some query that is alone, each of another one, frees as many places
    as it has queries: those alone find partners then, and one item is lost for two or more. Without this the last two
    that are alone take two items with them, whose other queries leave two others alone, until next to nothing is left.
    Empty where there is no such item.
    """
    surplus = Counter((c.facet, c.template, c.answer) for c in alone)
    own: dict[str, list[tuple[str, str, str]]] = defaultdict(list)
    for c in left:
        own[c.item_id].append((c.facet, c.template, c.answer))
    found: set[str] = set()
    for item in sorted(own, key=lambda item: _rank(seed, f"given-up:{item}")):
        taken = Counter(own[item])
        if len(own[item]) >= LEAST_QUERIES and taken <= surplus:
            surplus -= taken
            found.add(item)
    return found


def evened(
    blocks: Sequence[Block], item_of: Mapping[str, str], open_queries: Mapping[str, int], seed: int
) -> tuple[list[Block], list[Block]]:
    """Blocks to keep and blocks to leave out, so that facets have as nearly equal numbers of queries as may be.

    A facet with more queries than the mean over facets gives up whole blocks down to that mean, in seeded order; never
    a block that would leave an item with fewer than two queries. So no item is lost, and what is left is balanced.
    """
    counts: Counter[str] = Counter()
    sizes = Counter(open_queries)
    for block in blocks:
        counts[block.facet] += len(block.choices)
        sizes.update(item_of[query_id] for query_id in block.choices)
    goal = sum(counts.values()) / max(1, len(counts))
    out: set[int] = set()
    for place in sorted(range(len(blocks)), key=lambda i: _rank(seed, "even:" + "|".join(blocks[i].choices))):
        block = blocks[place]
        taken = Counter(item_of[query_id] for query_id in block.choices)
        enough = counts[block.facet] - len(block.choices) >= goal
        if enough and all(sizes[item] - number >= LEAST_QUERIES for item, number in taken.items()):
            out.add(place)
            counts[block.facet] -= len(block.choices)
            sizes.subtract(taken)
    return [b for i, b in enumerate(blocks) if i not in out], [blocks[i] for i in sorted(out)]


def _all_blocks(candidates: Iterable[Candidate], seed: int) -> list[Block]:
    templates: dict[tuple[str, str], list[Candidate]] = defaultdict(list)
    for candidate in candidates:
        templates[candidate.facet, candidate.template].append(candidate)
    blocks: list[Block] = []
    for key in sorted(templates):
        own = sorted(templates[key], key=lambda candidate: _rank(seed, candidate.query_id))
        beside = _beside(own)
        for kind in _kinds(own):
            blocks += _Pool(kind, beside, seed).blocks()
    return blocks


def _kinds(candidates: Sequence[Candidate]) -> list[list[Candidate]]:
    """The candidates of a template by the finest words that enough of them share."""
    found: list[list[Candidate]] = []
    left = list(candidates)
    for level in range(max((len(c.kinds) for c in left), default=0)):
        groups: dict[str, list[Candidate]] = defaultdict(list)
        for candidate in left:
            groups[candidate.kinds[level]].append(candidate)
        enough = {k for k, group in groups.items() if len(group) >= LEAST_OF_KIND or not k}
        found += [groups[k] for k in sorted(enough)]
        left = [candidate for candidate in left if candidate.kinds[level] not in enough]
    return found


def _beside(candidates: Sequence[Candidate]) -> dict[str, set[str]]:
    """Answer -> what the set offers beside it, where values exclude one another."""
    found: dict[str, set[str]] = defaultdict(set)
    for candidate in candidates:
        if candidate.exclusive:
            found[candidate.answer].update(candidate.wrong)
    return found


class _Pool:
    """Queries of one kind while blocks are taken out of it."""

    def __init__(self, candidates: Sequence[Candidate], beside: Mapping[str, Collection[str]], seed: int) -> None:
        self._seed, self._beside = seed, beside
        self._left = {candidate.query_id: candidate for candidate in candidates}
        self._texts = any(candidate.facet == TEXT for candidate in candidates)
        self._found: list[Block] = []

    def blocks(self) -> list[Block]:
        """Blocks of as many choices as possible first; of equal size, first those of the queries' own choices."""
        for k in range(MOST_CHOICES, LEAST_CHOICES - 1, -1):
            self._of_own_choices(k)
            self._of_exclusive_values(k)
        return self._found

    def _of_own_choices(self, k: int) -> None:
        """Blocks in which every query offers choices of its own only."""
        offers: dict[tuple[str, ...], dict[str, list[str]]] = {}
        for query_id, candidate in self._left.items():
            for others in combinations(sorted(candidate.wrong), k - 1):
                choices = tuple(sorted((candidate.answer, *others)))
                offers.setdefault(choices, {}).setdefault(candidate.answer, []).append(query_id)
        full = {choices: by_answer for choices, by_answer in offers.items() if len(by_answer) == k}
        most = sorted(full, key=lambda c: (-min(map(len, full[c].values())), _rank(self._seed, "|".join(c))))
        for choices in most:
            piles = [[q for q in full[choices][answer] if q in self._left] for answer in choices]
            for members in zip(*piles, strict=False):
                self._take(choices, members)

    def _of_exclusive_values(self, k: int) -> None:
        """Blocks of the most frequent answers left, as long as each may be offered beside each."""
        piles: dict[str, list[str]] = defaultdict(list)
        for query_id, candidate in self._left.items():
            if candidate.exclusive:
                piles[candidate.answer].append(query_id)
        heap = [(-len(pile), _rank(self._seed, f"{value}:{len(pile)}"), value) for value, pile in piles.items()]
        heapq.heapify(heap)
        while len(heap) >= k:
            chosen, passed = self._mutual(heap, k)
            if len(chosen) < k:  # the most frequent answer has no partners: its queries are left for smaller blocks
                for entry in [*chosen[1:], *passed]:
                    heapq.heappush(heap, entry)
                continue
            values = tuple(sorted(entry[2] for entry in chosen))
            self._take(values, [self._nearest(piles[value], values) for value in values])
            for _, _, value in chosen:
                if piles[value]:
                    rank = _rank(self._seed, f"{value}:{len(piles[value])}")
                    heapq.heappush(heap, (-len(piles[value]), rank, value))
            for entry in passed:
                heapq.heappush(heap, entry)

    def _mutual(
        self, heap: list[tuple[int, bytes, str]], k: int
    ) -> tuple[list[tuple[int, bytes, str]], list[tuple[int, bytes, str]]]:
        """The largest piles of which each value may stand beside each, and those passed over on the way."""
        chosen = [heapq.heappop(heap)]
        passed: list[tuple[int, bytes, str]] = []
        while heap and len(chosen) < k and len(passed) < 4 * _LOOKED_AT:
            entry = heapq.heappop(heap)
            fits = all(self._may_stand(entry[2], value) for _, _, value in chosen)
            (chosen if fits else passed).append(entry)
        return chosen, passed

    def _may_stand(self, value: str, other: str) -> bool:
        """Whether each is plainly wrong where the other is right."""
        if self._texts:
            one, two = value.casefold(), other.casefold()
            return one not in two and two not in one
        return other in self._beside.get(value, ()) and value in self._beside.get(other, ())

    def _nearest(self, pile: list[str], values: Collection[str]) -> str:
        """Of the first of a pile, the query that itself offers most of the values; it leaves the pile."""
        shares = [len(set(self._left[q].wrong) & set(values)) for q in pile[:_LOOKED_AT]]
        return pile.pop(shares.index(max(shares)))

    def _take(self, choices: Sequence[str], members: Sequence[str]) -> None:
        """Make a block: member i has the answer choices[i]. The answers' places are a seeded permutation."""
        name = "|".join(members)
        places = sorted(range(len(choices)), key=lambda i: _rank(self._seed, f"{name}:place:{i}"))
        shown: dict[str, tuple[str, ...]] = {}
        for i, query_id in enumerate(members):
            answer = choices[i]
            others = sorted(
                (c for c in choices if c != answer), key=lambda c: _rank(self._seed, f"{query_id}:order:{c}")
            )
            shown[query_id] = (*others[: places[i]], answer, *others[places[i] :])
        first = self._left[members[0]]
        self._found.append(Block(first.facet, first.template, shown))
        for query_id in members:
            del self._left[query_id]


def _rank(seed: int, text: str) -> bytes:
    return hashlib.sha256(f"{seed}:{text}".encode()).digest()[:8]
