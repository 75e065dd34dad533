"""`blind`: answers from the words alone, as well as they can be answered; fitted on pictures that are not asked about.

A conditional logistic regression. Choice i of a query with k choices has the score s_i = sum of w[h(f)] over its
features f, and P(i) = exp(s_i) / sum_j exp(s_j). Features are hashed to `SIZE` weights: the choice; the choice with
each word and each pair of words of the question, with the whole question, with each other choice, with all others
together, and with its place; and what is odd about it among the others: its place, its rank by length and by number,
how much it resembles the others. The loss is mean(-log P(answer)) + L2 |w|^2 / 2, minimised by full-batch Adagrad from
zero weights for a fixed number of steps. Of all steps, and of their weights made smaller (`SCALES`), those are kept
that do best on held-out pictures: what has nothing to learn stays at zero, where ties are broken by a hash. All is
deterministic.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from benchmark.records import Ask, Reply

if TYPE_CHECKING:
    from benchmark.fitted import Statistics
    from benchmark.models.base import Detail, ModelOptions

SIZE = 1 << 16
"""Weights."""
STEPS, RATE, START, L2 = 40, 0.1, 1e-6, 1e-4
SCALES = (1.0, 0.1, 0.01)
"""Of the weights after a step, tried on the held-out pictures."""
HELD_OUT = 5
"""One picture in so many decides when to stop."""
BATCH = 256
"""Asks that are answered together."""
MOST_QUERIES = 40_000
"""That are learnt from; of more, those whose hashes are smallest."""

Weights = NDArray[np.float32]
Hashes = NDArray[np.uint32]
Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Text:
    """All that a text-only answerer sees, and the answer where it learns."""

    question: str
    choices: tuple[str, ...]
    answer_index: int | None = None
    image_id: str = ""
    """For what is held out."""


@lru_cache(maxsize=8192)
def _asked(question: str) -> Hashes:
    """Hashes of a question's words and pairs of words, and last of the whole."""
    text = " ".join(question.split()).casefold()
    words = re.findall(r"\w+", text)
    pairs = [f"{one} {two}" for one, two in pairwise(words)]
    return np.array([_hash("q:" + token) for token in [*dict.fromkeys([*words, *pairs]), text]], np.uint32)


@lru_cache(maxsize=65536)
def _told(choices: tuple[str, ...]) -> tuple[list[int], list[list[int]]]:
    """Hashes of the choices, and of what is odd about each."""
    texts = [" ".join(choice.split()).casefold() for choice in choices]
    return [_hash("c:" + text) for text in texts], _oddness(texts)


def _oddness(texts: Sequence[str]) -> list[list[int]]:
    """Per choice: ranks by length, by number and by resemblance to the others."""
    lengths = _ranks([len(text) for text in texts])
    numbers = _ranks([int(text) for text in texts]) if all(t.isdecimal() and len(t) < 10 for t in texts) else None
    grams = [{f" {text} "[i : i + 2] for i in range(len(text) + 1)} for text in texts]
    alike = [
        sum(len(own & other) for j, other in enumerate(grams) if j != i) / max(1, len(own))
        for i, own in enumerate(grams)
    ]
    nearness = _ranks([round(value, 3) for value in alike])
    k = len(texts)
    return [
        [
            _hash(f"length {lengths[i]} of {k}"),
            _hash(f"alike {nearness[i]} of {k}"),
            _hash(f"number {numbers[i] if numbers else '-'} of {k}"),
        ]
        for i in range(k)
    ]


def _ranks(values: Sequence[float]) -> list[int]:
    """Twice the mean rank of each: equal values share theirs."""
    return [sum(2 * (other < value) + (other == value) for other in values) for value in values]


def _hash(text: str) -> int:
    return zlib.crc32(text.encode("utf-8", "surrogatepass"))


def _mix(one: Hashes, two: Hashes | Counts | int) -> Hashes:
    """One hash of two, in arithmetic modulo 2^32."""
    mixed = one * np.uint32(0x9E3779B1) ^ np.asarray(two, np.uint32) * np.uint32(0x85EBCA77)
    return np.asarray(mixed ^ mixed >> np.uint32(15), np.uint32)


@dataclass(frozen=True)
class _Table:
    """Features of many queries, flat. Index letters: q queries, c choices, f features."""

    index_f: Counts
    choice_f: Counts
    start_q: Counts
    """The first choice of each query."""
    query_c: Counts

    @classmethod
    def of(cls, texts: Sequence[Text]) -> _Table:
        told = [_told(text.choices) for text in texts]
        asked = [_asked(text.question) for text in texts]
        size_q = np.array([len(words) for words, _ in told], np.int64)
        start_q = np.cumsum(size_q) - size_q
        query_c = np.repeat(np.arange(len(texts)), size_q)
        word_c = np.array([word for words, _ in told for word in words], np.uint32)
        odd_co = np.array([oddity for _, odd in told for oddity in odd], np.uint32).reshape(len(word_c), -1)
        length_q = np.array([len(own) for own in asked], np.int64)
        token_t = np.concatenate(asked) if asked else np.zeros(0, np.uint32)
        end_q = np.cumsum(length_q)
        parts = _single(word_c, odd_co, token_t[end_q - 1][query_c], start_q[query_c], size_q[query_c])
        parts += [_expanded(word_c, end_q - length_q, length_q, query_c, token_t)]
        parts += [_expanded(word_c, start_q, size_q, query_c, _mix(word_c, 1))]
        index_f = np.concatenate([index for index, _ in parts]) % SIZE
        choice_f = np.concatenate([choice for _, choice in parts])
        return cls(index_f.astype(np.int64), choice_f, start_q, query_c)

    def shares_c(self, weights: NDArray[np.floating]) -> NDArray[np.float64]:
        """P of each choice."""
        score_c = np.bincount(self.choice_f, weights[self.index_f], len(self.query_c))
        score_c -= np.maximum.reduceat(score_c, self.start_q)[self.query_c]
        raised_c = np.exp(score_c)
        return raised_c / np.add.reduceat(raised_c, self.start_q)[self.query_c]

    def loss(self, weights: NDArray[np.floating], answer_q: Counts) -> float:
        """Mean of -log P(answer)."""
        return float(-np.log(np.maximum(self.shares_c(weights)[answer_q], 1e-12)).mean())


_Part = tuple[Hashes, NDArray[np.int64]]
"""Features, and the choice of each."""


def _single(word_c: Hashes, odd_co: Hashes, whole_c: Hashes, start_c: Counts, size_c: Counts) -> list[_Part]:
    """Features of which each choice has one."""
    every = np.arange(len(word_c))
    place_c = (every - start_c).astype(np.uint32)
    before_c = np.concatenate([np.zeros(1, np.uint64), np.cumsum(word_c, dtype=np.uint64)])
    all_c = before_c[start_c + size_c] - before_c[start_c]
    others_c = ((all_c - word_c) & np.uint64(0xFFFFFFFF)).astype(np.uint32)
    found = [
        word_c,
        _mix(word_c, size_c + 7),
        _mix(place_c, size_c + 11),
        _mix(word_c, place_c + 17),
        _mix(word_c, whole_c),
        _mix(word_c, others_c),
    ]
    for odd_c in odd_co.T:
        found += [odd_c, _mix(odd_c, whole_c)]
    return [(features, every) for features in found]


def _expanded(word_c: Hashes, start_q: Counts, size_q: Counts, query_c: Counts, pool: Hashes) -> _Part:
    """Each choice with each of its query's entries of `pool`."""
    times_c = size_q[query_c]
    choice_f = np.repeat(np.arange(len(word_c)), times_c)
    first_c = np.cumsum(times_c) - times_c
    entry_f = np.arange(len(choice_f)) - first_c[choice_f] + start_q[query_c][choice_f]
    return _mix(word_c[choice_f], pool[entry_f]), choice_f


def fitted(texts: Sequence[Text]) -> Weights:
    """Weights [SIZE] learnt from queries with choices and answers; zeros where there are none."""
    kept = sorted(
        (text for text in texts if text.choices and text.answer_index is not None),
        key=lambda text: hashlib.sha256(f"{text.image_id}|{text.question}|{text.choices}".encode()).digest(),
    )[:MOST_QUERIES]
    held = [text for text in kept if _hash(text.image_id) % HELD_OUT == 0]
    learnt = [text for text in kept if _hash(text.image_id) % HELD_OUT]
    weights: NDArray[np.floating] = np.zeros(SIZE)
    if not learnt or not held:
        return weights.astype(np.float32)
    table, judge = _Table.of(learnt), _Table.of(held)
    answer_q = table.start_q + np.array([text.answer_index or 0 for text in learnt], np.int64)
    judged_q = judge.start_q + np.array([text.answer_index or 0 for text in held], np.int64)
    squares, best, least = np.full(SIZE, START), weights, judge.loss(weights, judged_q)
    for _ in range(STEPS):
        error_c = table.shares_c(weights)
        error_c[answer_q] -= 1
        slope = np.bincount(table.index_f, error_c[table.choice_f], SIZE) / len(learnt) + L2 * weights
        squares += slope**2
        weights = weights - RATE * slope / np.sqrt(squares)
        for scale in SCALES:  # no scale changes what is answered; a small one lets a faint signal be told from none
            loss = judge.loss(scale * weights, judged_q)
            if loss < least:
                best, least = scale * weights, loss
    return best.astype(np.float32)


def answers(weights: Weights, texts: Sequence[Text]) -> list[int]:
    """The choice taken for each query; equal scores are told apart by a hash of question and choice."""
    if not texts:
        return []
    table = _Table.of(texts)
    shares_c = table.shares_c(weights)
    found = []
    for text, start in zip(texts, table.start_q.tolist(), strict=True):
        own = shares_c[start : start + len(text.choices)].round(9).tolist()
        tie = [_hash(f"{text.image_id}|{text.question}|{choice}") for choice in text.choices]
        found.append(max(range(len(own)), key=lambda i: (own[i], tie[i])))
    return found


class Blind:
    """The answerer as a model: each ask's question and choices, and nothing else."""

    def __init__(self, name: str, learnt: Statistics) -> None:
        self.name = name
        self._learnt = learnt

    def details(self) -> dict[str, Detail]:
        """How much it has learnt from."""
        from benchmark.models.simple import told

        return told(self._learnt)

    def replies(self, asks: Iterable[Ask]) -> Iterator[tuple[Ask, Reply]]:
        """In order, in batches; an open question gets the most frequent answer of its facet."""
        from benchmark.models.simple import frequent, said

        for batch in _batches(asks):
            texts = [Text(ask.question, ask.choices, None, ask.item.image_id) for ask in batch]
            taken: dict[int, str] = {}
            for part in self._learnt.parts:
                own = [
                    i for i, ask in enumerate(batch)
                    if ask.choices and self._learnt.of(ask.item.image_id) is part
                ]  # fmt: skip
                found = answers(part.weights, [texts[i] for i in own])
                taken |= {i: batch[i].choices[place] for i, place in zip(own, found, strict=True)}
            for i, ask in enumerate(batch):
                yield ask, Reply(said(ask, taken[i] if i in taken else frequent(ask, self._learnt, True)))


def _batches(asks: Iterable[Ask]) -> Iterator[list[Ask]]:
    batch: list[Ask] = []
    for ask in asks:
        batch.append(ask)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def open_model(spec: str, options: ModelOptions) -> Blind:
    """The blind answerer of the benchmark that is asked.

    Raises:
        UsageError: the benchmark was made without training pictures, or something stands behind the name.
    """
    from benchmark.fitted import load_statistics
    from slvr_data.errors import UsageError

    if spec != "blind":
        raise UsageError(f"--model {spec}: blind takes nothing behind a colon")
    return Blind(spec, load_statistics(options.bench.training if options.bench is not None else None, spec))
