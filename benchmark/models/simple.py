"""Baselines that do not look: they bound what a score means, and test the statistics.

* `random`: a choice by chance.
* `majority`: the choice that is most often an answer in the training pictures; `prior`: the same within the facet.
* `oracle`: the right answer.
* `noisy-oracle:P,RHO`: right with probability P, and alike within an item. For each item and seed a share is drawn
  from Beta(P (1 - RHO) / RHO, (1 - P) (1 - RHO) / RHO); each ask about it is then right with that probability,
  independently. So P(right) = P, the correlation of two queries of an item is RHO, P(both right) = P^2 + RHO P (1 - P),
  and the number right of n is beta-binomial (Skellam 1948). RHO = 0: all independent; RHO = 1: all right or all wrong.

All draws follow from the ask's id: the same ask always gets the same reply.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from benchmark.asks import expected_of
from benchmark.fitted import Part, Statistics, load_statistics
from benchmark.prompts import LETTERS
from benchmark.records import CANNOT_SEE, Ask, Reply
from slvr_data.errors import UsageError

if TYPE_CHECKING:
    from benchmark.models.base import Detail, ModelOptions

UNKNOWN = "I do not know."
"""What is said to an open question where nothing was learnt."""


class Baseline:
    """A model that is a function of the ask."""

    def __init__(self, name: str, answer: Callable[[Ask], str], details: dict[str, Detail] | None = None) -> None:
        self.name = name
        self._answer = answer
        self._details = details or {}

    def details(self) -> dict[str, Detail]:
        """What it has learnt from, where it has."""
        return self._details

    def replies(self, asks: Iterable[Ask]) -> Iterator[tuple[Ask, Reply]]:
        """In order, each at once."""
        for ask in asks:
            yield ask, Reply(said(ask, self._answer(ask)))


def said(ask: Ask, answer: str) -> str:
    """The words of a reply: a choice behind its letter, as it was shown."""
    return f"{LETTERS[ask.choices.index(answer)]}. {answer}" if answer in ask.choices else answer


def open_model(spec: str, options: ModelOptions) -> Baseline:
    """The baseline that a specification names.

    Raises:
        UsageError: it is none, its numbers are out of range, or the benchmark has nothing to learn from.
    """
    name, _, rest = spec.partition(":")
    if name == "noisy-oracle":
        p, rho = _numbers(spec, rest)
        return Baseline(spec, lambda ask: noisy(ask, p, rho))
    if rest:
        raise UsageError(f"--model {spec}: {name} takes nothing behind a colon")
    if name == "random":
        return Baseline(spec, guess)
    if name == "oracle":
        return Baseline(spec, truth)
    if name in ("majority", "prior"):
        path = options.bench.training if options.bench is not None else None
        learnt = load_statistics(path, spec)
        return Baseline(spec, lambda ask: frequent(ask, learnt, name == "prior"), told(learnt))
    raise UsageError(f"--model {spec}: no such baseline")


def _numbers(spec: str, text: str) -> tuple[float, float]:
    try:
        p, rho = (float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"--model {spec}: give two numbers, e.g. noisy-oracle:0.8,0.3") from None
    if not (0 <= p <= 1 and 0 <= rho <= 1):
        raise UsageError(f"--model {spec}: probability {p} and correlation {rho} must lie between 0 and 1")
    return p, rho


def told(learnt: Statistics) -> dict[str, Detail]:
    """What a run's header says of what was learnt."""
    return {"training_parts": len(learnt.parts), "training_queries": sum(part.queries for part in learnt.parts)}


def guess(ask: Ask) -> str:
    """A choice by chance."""
    return ask.choices[int(unit("guess", ask.ask_id) * len(ask.choices))] if ask.choices else UNKNOWN


def truth(ask: Ask) -> str:
    """The right answer of the ask's variant."""
    expected = expected_of(ask.item, ask.query, ask.variant)
    return CANNOT_SEE if expected is None else expected


def noisy(ask: Ask, p: float, rho: float) -> str:
    """The right answer, or with the item's share of errors a wrong one."""
    right = truth(ask)
    if unit("right", ask.ask_id) < share(f"{ask.item.item_id}/{ask.seed}", p, rho):
        return right
    wrong = [choice for choice in ask.choices if choice != right]
    return wrong[int(unit("wrong", ask.ask_id) * len(wrong))] if wrong else UNKNOWN


def share(key: str, p: float, rho: float) -> float:
    """The probability of being right about an item, from Beta(p (1 - rho) / rho, (1 - p) (1 - rho) / rho)."""
    if rho == 0 or p in (0, 1):
        return p
    if rho == 1:
        return float(unit("share", key) < p)
    strength = (1 - rho) / rho
    seed = int.from_bytes(hashlib.sha256(f"share:{key}".encode()).digest()[:16], "big")
    return float(np.random.Generator(np.random.PCG64(seed)).beta(p * strength, (1 - p) * strength))


def frequent(ask: Ask, learnt: Statistics, by_facet: bool) -> str:
    """The choice that is most often right in the training pictures; where none is, one by chance."""
    part = learnt.of(ask.item.image_id)
    facet = ask.query.facet if by_facet else None
    if not ask.choices:
        return _most_frequent(part, facet)
    counts = {choice: part.frequency(choice, facet) for choice in ask.choices}
    best = [choice for choice, count in counts.items() if count == max(counts.values())]
    return best[int(unit("tie", ask.ask_id) * len(best))]


def _most_frequent(part: Part, facet: str | None) -> str:
    facets = part.answers.values() if facet is None else [part.answers.get(facet, {})]
    words = sorted({answer for own in facets for answer in list(own)[:20]})
    return max(words, key=lambda answer: part.frequency(answer, facet), default=UNKNOWN)


def unit(*parts: str) -> float:
    """A number in [0, 1) that follows from the parts."""
    digest = hashlib.sha256(":".join(parts).encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48
