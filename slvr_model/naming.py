"""Where a question names things, and what is to be known there before a letter is chosen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise

from slvr_data.queries.english import plural
from slvr_model.labels import ALIKE, NO_LABEL, labels_of
from slvr_model.lessons import Lesson, Question, Thing
from slvr_model.packing import ANSWERED, CHOSEN, Block
from slvr_model.prompts import LETTERS

OF_ONE = frozenset({"color", "size", "material", "depth", "position"})
"""Facets whose questions single out one thing by a phrase that all their wordings share."""
AFTER_PLACE = " of the picture"
Ids = Callable[[str], tuple[int, ...]]
"""Text -> tokens."""


@dataclass(frozen=True)
class Name:
    """Words that single a thing out."""

    words: tuple[int, ...]
    """As tokens."""
    after: int
    """So many at their end say nothing more of it."""
    labels: tuple[int, ...]
    """What the thing is."""


class Names:
    """Finds the names and the places of hints in prompts of one tokenizer."""

    def __init__(self, ids: Ids) -> None:
        self._ids = ids
        self._breaks = {ids(f"?\n{letter}.")[-1]: ids(letter)[0] for letter in LETTERS}
        """What a choice's line begins with -> its letter alone."""
        self._phrase = lru_cache(maxsize=1 << 16)(self._common)

    def of(self, lesson: Lesson) -> list[Name]:
        """What things of a picture are called in questions.

        By their plainest reference; by their place, if nothing else lies there; all of a kind by its plural, of which
        only the number is known.
        """
        names = [Name(self._ids(t.reference), 0, labels_of(t)) for t in lesson.things if t.reference]
        places = [str(t.profile.spatial.position) for t in lesson.things]
        after = len(self._ids(AFTER_PLACE))
        for thing, place in zip(lesson.things, places, strict=True):
            if places.count(place) == 1:
                names.append(Name(self._ids(f"the {place}{AFTER_PLACE}"), after, labels_of(thing)))
        for thing in lesson.things:
            number = tuple(NO_LABEL if at != ALIKE else value for at, value in enumerate(labels_of(thing)))
            names.append(Name(self._ids(plural(str(thing.profile.appearance.entity))), 0, number))
        return names

    def asked(self, block: Block, names: Sequence[Name], thing: Thing, question: Question) -> Block:
        """The block of a question about a thing, with all that it names, and with hints if it has choices."""
        phrase = Name(self._phrase(question.wordings) if question.facet in OF_ONE else (), 0, labels_of(thing))
        block = with_names(block, [*names, phrase])
        return replace(block, hints=self.hints(block, question.answer))

    def hints(self, block: Block, answer: str, said: int = 0) -> tuple[tuple[int, int, int], ...]:
        """What is known before a letter is written: (layer, position, token); nothing for an open question.

        After `ANSWERED`, the answer: its words where the prompt has ended, and the first one where the reply begins;
        and at each word of a choice, its letter. After `CHOSEN`, the answer's letter at the former. `said` tokens
        follow the choices.
        """
        starts = [at for at, token in enumerate(block.prompt) if token in self._breaks]
        if not starts:
            return ()
        words, last = self._ids(answer)[:2], len(block.prompt) - 1
        known = [*((last - 2 + i, token) for i, token in enumerate(words)), (last, words[0])]
        hints = [(ANSWERED, at, token) for at, token in known]
        for begin, end in pairwise([*starts, last - 2 - said]):
            letter = self._breaks[block.prompt[begin]]
            hints += [(ANSWERED, at, letter) for at in range(begin + 1, end)]
        return (*hints, *((CHOSEN, at, block.reply[0]) for at, _ in known))

    def _common(self, wordings: tuple[str, ...]) -> tuple[int, ...]:
        """The longest words from a "the" on that all wordings share: they name what is asked about, or nothing."""
        the = self._ids("the")[0]
        first, *others = (self._ids(wording.rstrip("?.")) for wording in wordings)
        starts = [at for at, token in enumerate(first) if token == the]
        parts = sorted((first[at:end] for at in starts for end in range(at + 2, len(first) + 1)), key=len, reverse=True)
        return next((part for part in parts if all(_at(part, other) >= 0 for other in others)), ())


def with_names(block: Block, names: Sequence[Name]) -> Block:
    """The block with the places where its prompt has named things."""
    found = {}
    for name in names:
        at = _at(name.words, block.prompt) if name.words else -1
        if at >= 0:
            found[at + len(name.words) - 1 - name.after] = name.labels
    return replace(block, named=tuple(sorted(found.items())))


def _at(part: tuple[int, ...], whole: tuple[int, ...]) -> int:
    """Where a part begins first, or -1."""
    return next((at for at in range(len(whole) - len(part) + 1) if whole[at : at + len(part)] == part), -1)
