"""The form of a question: its words without those that are the picture's own.

"What color is the leftmost cup?" and "What color is the dog?" are one template, "what color is {}?". Answers are
balanced within templates, and a template is refused as a whole where its questions can be answered unseen.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

from benchmark.stats import holm
from slvr_data.colors import COLORS
from slvr_data.queries.english import plural

SLOT = "{}"
"""What stands in a template for words of the picture's own."""

_OWN = frozenset({
    *COLORS, "grey", "dark", "light", "striped", "dotted", "checkered", "solid", "spotted", "wooden", "metal",
    "big", "bigger", "biggest", "large", "larger", "largest", "small", "smaller", "smallest", "tall", "tallest",
    "left", "right", "top", "bottom", "middle", "center", "upper", "lower", "above", "below", "under", "over",
    "leftmost", "rightmost", "topmost", "bottommost", "corner", "behind", "front", "closest", "nearest",
    "one", "two", "three", "four", "first", "second", "third", "fourth", "fifth", "sixth", "last", "only", "other",
})  # fmt: skip
"""Words that single a thing out: the picture's own wherever they stand beside its name."""
_PICTURE = r"(?: of the (?:picture|image|photo|photograph))"
_WORD = r"\x00\d+\x01"
_RUN = re.compile(rf"(?:(?:the|a|an) )?{_WORD}(?:(?:,? (?:of|from|at|in|to|on|and|the|a|an))* {_WORD})*{_PICTURE}?")
_MARK = re.compile(r"\x00(\d+)\x01")


@dataclass(frozen=True)
class Form:
    """A question taken apart."""

    template: str
    """In lower case, with `SLOT` for each run of own words."""
    own: str
    """The runs: what tells two questions of a template apart."""
    nouns: str
    """The names of things in them."""


def form_of(question: str, labels: Collection[str], references: Collection[str] = ()) -> Form:
    """The form of a question.

    Args:
        question: as it is asked.
        labels: names of the things in its picture; their plurals are known.
        references: phrases that single things out, as far as they are known.
    """
    text = " ".join(question.replace("\x00", " ").split()).casefold()
    pattern, names = _own_words(frozenset(labels), frozenset(references))
    words: list[str] = []

    def mark(found: re.Match[str]) -> str:
        words.append(found[0])
        return f"\x00{len(words) - 1}\x01"

    runs: list[str] = []
    nouns: list[str] = []

    def slot(found: re.Match[str]) -> str:
        inside = [words[int(number)] for number in _MARK.findall(found[0])]
        said = _MARK.sub(lambda m: words[int(m[1])], found[0])
        things = [word for word in inside if word in names or word[0] in '"0123456789']
        if not things and not re.search(f"{_PICTURE}$", said):
            return said
        runs.append(said.removeprefix("the "))
        nouns.extend(things)
        return SLOT

    template = _RUN.sub(slot, pattern.sub(mark, text))
    return Form(template, " | ".join(runs), " | ".join(nouns))


@lru_cache(maxsize=4096)
def _own_words(labels: frozenset[str], references: frozenset[str]) -> tuple[re.Pattern[str], frozenset[str]]:
    """What finds own words, the longest first, and those that name things."""
    things = {" ".join(label.split()).casefold() for label in labels if label.strip()}
    names = things | {plural(thing) for thing in things} | {" ".join(r.split()).casefold() for r in references}
    names -= {""}
    ordered = sorted(names | _OWN, key=lambda word: (-len(word), word))
    found = "|".join(map(re.escape, ordered))
    return re.compile(rf'"[^"]*"|(?<!\w)(?:{found}|\d+)(?!\w)'), frozenset(names)


LEVEL = 0.05
"""Probability of refusing any template where none can be answered unseen."""


@dataclass(frozen=True)
class Guess:
    """A query that was answered from its words, by what was learnt on other pictures."""

    facet: str
    template: str
    image_id: str
    right: bool
    chance: float


@dataclass(frozen=True)
class TemplateTest:
    """How a template fared."""

    facet: str
    template: str
    queries: int
    accuracy: float
    chance: float
    """Mean over its queries."""
    p: float
    """Of an excess as large by chance, adjusted for all templates (Holm)."""

    @property
    def refused(self) -> bool:
        """Whether the answerer beats chance."""
        return self.p < LEVEL

    def tree(self) -> dict[str, Any]:
        """For `bench.json`."""
        rounded = {name: round(value, 6) if isinstance(value, float) else value for name, value in asdict(self).items()}
        return {**rounded, "refused": self.refused}


def template_tests(guesses: Iterable[Guess]) -> list[TemplateTest]:
    """Each template against chance, one-sided, sorted.

    With e_g the sum over the queries of picture g of (right - chance), z = sum(e_g) / sqrt(max(sum(e_g^2),
    sum(chance (1 - chance)))), p = 1 - Phi(z): pictures are taken to be independent, queries of one are not. Holm's
    correction is over templates.
    """
    templates: dict[tuple[str, str], list[Guess]] = defaultdict(list)
    for guess in guesses:
        templates[guess.facet, guess.template].append(guess)
    keys = sorted(templates)
    adjusted = holm([_p_value(templates[key]) for key in keys])
    return [
        TemplateTest(
            *key,
            queries=len(own := templates[key]),
            accuracy=sum(guess.right for guess in own) / len(own),
            chance=sum(guess.chance for guess in own) / len(own),
            p=p,
        )
        for key, p in zip(keys, adjusted, strict=True)
    ]


def _p_value(guesses: Collection[Guess]) -> float:
    excess: dict[str, float] = defaultdict(float)
    for guess in guesses:
        excess[guess.image_id] += guess.right - guess.chance
    variance = max(sum(e * e for e in excess.values()), sum(g.chance * (1 - g.chance) for g in guesses))
    z = sum(excess.values()) / math.sqrt(variance) if variance else 0.0
    return math.erfc(z / math.sqrt(2)) / 2
