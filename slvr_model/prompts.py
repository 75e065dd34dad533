"""How a question is put to a model: open, or with lettered choices."""

from __future__ import annotations

from collections.abc import Sequence

LETTERS = "ABCDEFGH"
DESCRIBE = "Describe {thing}."
"""Asks for a region's profile as sentences; `thing` is words that single it out."""


def question_text(question: str, choices: Sequence[str] = ()) -> str:
    """The question; with choices, each stands on a line of its own behind its letter, and the reply is a letter.

    Raises:
        ValueError: there are more choices than letters.
    """
    if len(choices) > len(LETTERS):
        raise ValueError(f"{len(choices)} choices, but letters only for {len(LETTERS)}")
    return question + "".join(f"\n{letter}. {choice}" for letter, choice in zip(LETTERS, choices, strict=False))
