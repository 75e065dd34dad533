"""The words of the embedded world: what questions, answers, profiles and prompts about it are made of.

`WORDS` is frozen, because checkpoints count on its order; `derived` tells from the code that writes
questions and profiles what belongs in it, and `python -m slvr_model.words` prints the list anew.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from slvr_data import geometry
from slvr_data.colors import COLORS
from slvr_data.queries import distractors, english, facets
from slvr_data.queries.references import MOST_IN_ORDER
from slvr_data.sources.scenes.forms import SHAPES
from slvr_data.sources.scenes.things import WORDS as LETTERINGS

PIECES = r"\n[A-H]\.| ?[^\W\d_]+| ?\d| ?[^\s\w]|_|\s"
"""How text is cut: a choice letter with its line break, a word, a digit or a sign with the space before it."""
CHOICE_LETTERS = "ABCDEFGH"
PROMPTS = ("user", "assistant", "Describe the thing.", "cannot be seen", "yes", "no", "unknown", "none")
"""What prompts and replies say beside questions and profiles."""

_FROZEN = """
    A Action B BANK BUS C CAFE COLD Compared D Depth Describe E EXIT F G GO H HOT How IN In Interaction Look M NEW
    NO OPEN OUT On One Orientation PARK Relations SALE STOP Shape TAXI Tell The UP Visible What Where Which YES ZOO
    a above among and another apart are around arrow arrows assistant at axis back bar bars be bear behind below
    between big black blue bottom bottommost brown by can cannot center checkered circle circles closely color
    colors cross crosses depth describes diagonal diamond diamonds direction does doing dotted down ellipse ellipses
    elliptical everything falling fifth figure figures first found fourth frame frames from front gray green have
    held holding horizontal in inside is it its kind large largest layer leaning left leftmost letters lie longer
    lying many medium middle much next no none number of on one only or orange orientation oriented overlap
    overlapping part pattern picture pink placed pointing pose purple read rectangular red relation right rightmost
    ring rings rising round run say second see seen shaped show shown shows side sign signs sixth size small
    smallest solid square squares standing star stars stretched striped surface taken text that the them there these
    thing things third to top topmost touching triangle triangles triangular two unknown up user vertical waving way
    what where which white whole with word written yellow yes
"""
WORDS: tuple[str, ...] = tuple(_FROZEN.split())
"""Each is one token where a space stands before it, and so at the beginning of a text."""


def pieces(text: str) -> list[str]:
    """The text cut as the tokenizer cuts it, without the spaces; a text begins as if a space stood before it."""
    return [piece.strip(" ") for piece in re.findall(PIECES, f" {text}")]


def derived(scenes: int = 400) -> list[str]:
    """The words that the code can write, sorted: those of its word lists, and of `scenes` drawn scenes per level."""
    found = {word for text in _lists() for word in pieces(text)}
    for text in texts(scenes, seed=0):
        found.update(word for word in pieces(text) if not word.isupper())  # capitals are what signs say: bytes
    found.update(CHOICE_LETTERS)
    return sorted(word for word in found if word.isalpha() and word.isascii())


def texts(scenes: int, seed: int) -> Iterator[str]:
    """Every profile, reference, question, answer and choice of drawn scenes of both levels."""
    from slvr_model.lessons import lessons

    for level in ("easy", "full"):
        for lesson in lessons(level, seed, scenes):
            for thing in lesson.things:
                yield from (thing.text, thing.reference or "")
                for question in thing.questions:
                    yield from (*question.wordings, question.answer, *question.choices)


def _lists() -> Iterator[str]:
    yield from (*PROMPTS, *LETTERINGS, *COLORS, *SHAPES, *SHAPES.values(), *map(english.plural, SHAPES))
    yield from (*geometry.SIZES, *geometry.POSITIONS, *geometry.RELATIONS, *distractors.ACTIONS)
    yield from (*facets.DEPTHS, *facets.DEPTHS.values(), *facets.ORIENTATIONS, *facets.PATTERNS, *facets.HOLDS)
    yield from (english.ordinal(number) for number in range(1, MOST_IN_ORDER + 1))
    yield "up down left right leftmost rightmost topmost bottommost smallest largest it them another"


if __name__ == "__main__":
    print(" ".join(derived()))
