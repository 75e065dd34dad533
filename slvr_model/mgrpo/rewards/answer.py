"""Is the answer right: 0 to 1.

    letter      1 where the letter is named: "B", "(b)", "B.", "B. red"
    exact       1 where both are the same but for case, spaces and a full stop at the end
    graded      numbers: max(0, 1 - 0.2 |difference|); words: 0.5 where one is shared (3ViewSense, arXiv 2603.07751)
    contained   exact, or 0.5 where the right answer is part of what is given, or 0 (the released code's string rule)
    judge       1 or 0 as a judge says; where it does not know, nothing, or as `contained`

The answer alone is read, as the objective cuts it out of a reply.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import torch

from slvr_data.checks.queries.base import normal
from slvr_model.mgrpo.rewards.facts import Facts, Term
from slvr_model.mgrpo.settings.rewards import AnswerConfig
from slvr_model.right import exact, letter, plain

_NUMBERS = {
    word: float(number)
    for number, word in enumerate(
        ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
    )
}
_SMALL = frozenset(("a", "an", "the", "of", "at", "in", "on", "to", "is", "it", "its", "and"))
"""Words that say nothing when they are shared."""


def answer(facts: Facts, config: AnswerConfig) -> Term:
    """The term, [k, G]."""
    values, present = [], []
    for row, given in enumerate(facts.given):
        query = row // facts.rollouts
        value = _scored(facts, config, row, given, query)
        values.append(value or 0.0)
        present.append(value is not None)
    return Term.of(facts.table(values), facts.table(present).bool())


def _scored(facts: Facts, config: AnswerConfig, row: int, given: str, query: int) -> float | None:
    right = facts.right[query]
    if facts.lettered[query] and config.lettered == "letter":
        return letter(given, right)
    if config.kind != "judge":
        return RULES[config.kind](given, right)
    said = facts.judged[row] if facts.judged is not None else None
    if said is None:
        return contained(given, right) if config.unknown == "contained" else None
    return float(said)


def graded(given: str, right: str) -> float:
    """Numbers by their difference, words by what they share."""
    if exact(given, right):
        return 1.0
    one, other = _number(given), _number(right)
    if one is not None and other is not None:
        return max(0.0, 1 - 0.2 * round(abs(one - other)))
    return 0.5 if one is None and other is None and _words(given) & _words(right) else 0.0


def contained(given: str, right: str) -> float:
    """The released code's rule for texts."""
    if exact(given, right):
        return 1.0
    return 0.5 if plain(right) and plain(right) in plain(given) else 0.0


RULES: dict[str, Callable[[str, str], float]] = {"exact": exact, "graded": graded, "contained": contained}


def right_kG(term: Term, config: AnswerConfig) -> torch.Tensor:
    """Which rollouts count as right; False where nothing is known."""
    return term.present_kG & (term.values_kG >= config.right_from)


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", normal(text))) - _SMALL


def _number(text: str) -> float | None:
    said = plain(text)
    if said in _NUMBERS:
        return _NUMBERS[said]
    return float(said) if re.fullmatch(r"-?\d{1,15}(\.\d{1,15})?", said) else None
