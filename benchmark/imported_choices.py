"""Choices that stand in the words of a question, and answers that are letters."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from benchmark.imported_forms import FaultError
from benchmark.prompts import LETTERS

_MARKER = re.compile(r"(?<!\S)(\(?)([A-Z])([.):])")
"""The beginning of a choice: "A.", "A)", "A:" or "(A)"."""
_INSTRUCTION = re.compile(
    r"\s+(?=(?:Please|Answer|Choose|Select|Pick|Reply|Respond|Give|Return|Output|Write)\s+[a-z]|Answer:)"
)
"""What stands behind the last of choices on one line may begin so."""
_SENTENCE = re.compile(r"[a-z]{3}[.!?]\s+[A-Z]")
_BARE = re.compile(r"\(?([A-Z])[.):]?\)?")
_MARKED = re.compile(r"(?:\(([A-Z])\)|([A-Z])[.):])\s*(\S.*)", re.S)
_LONE = re.compile(r"\(?[A-Za-z][.):]?\)?")
_CURE = "give them as a list, or each on a line of its own"


class Asked(NamedTuple):
    """A question, and the choices that stood in it."""

    head: str
    """The question itself: what stands before the choices, or behind them where nothing stands before."""
    question: str
    """All of its words but the choices."""
    choices: list[str]


class _Mark(NamedTuple):
    """The beginning of a choice in a text."""

    start: int
    end: int
    letter: str
    style: tuple[str, str]
    first: bool
    """Whether it begins its line."""


def choices_in(text: str) -> Asked:
    """Choices that stand in a question, each on a line or one behind the other, taken out of it.

    They are "A. red", "A) red", "A: red" or "(A) red", marked alike and in the order of letters from A. On one line
    they are read only where the first begins the line or stands behind the end of a sentence, so that "Is (A) larger
    than (B)?" keeps its words. Blank lines may stand between them. What stands behind them stays in the question.

    Raises:
        FaultError: where the choices end cannot be told.
    """
    marks = _marks(text)
    run = _run([mark for mark in marks if mark.first])
    if len(run) > 1 and all(not text[a.end : b.start].strip().count("\n") for a, b in pairwise(run)):
        inline = False
    else:
        run, inline = _run([mark for mark in marks if mark.first or mark.style != ("", ":")], text), True
    if len(run) < 2:
        return Asked(text, text, [])
    stop = text.find("\n", run[-1].end)
    stop = len(text) if stop < 0 else stop
    told = [text[a.end : b.start].strip() for a, b in pairwise(run)]
    last, rest = text[run[-1].end : stop].strip(), text[stop:].strip()
    if inline:
        last, more = _last(last)
        rest = "\n".join(part for part in (more, rest) if part)
        told = [re.sub(r"(?:[,;]|,?\s+or)$", "", choice) for choice in told]
    choices = [*told, last]
    following = LETTERS[len(run) : len(run) + 1]
    if (
        not all(choices)
        or any("\n" in choice for choice in choices)
        or any((m.letter, m.style) == (following, run[0].style) for m in _marks(rest))
    ):
        raise FaultError("choices-unclear", f"where the choices of {text[:120]!r} end cannot be told: {_CURE}")
    head = text[: run[0].start].strip()
    question = "\n".join(part for part in (head, rest) if part)
    if not question:
        raise FaultError("choices-unclear", f"{text[:120]!r} is choices without a question")
    return Asked(head or rest, question, choices)


def chosen(answer: str, choices: Sequence[str]) -> str:
    """The choice that an answer is: its words; its letter alone; or its letter with a mark and then its words.

    Raises:
        FaultError: it is none; or it is a letter, and there are no choices.
    """
    if not choices:
        if _LONE.fullmatch(answer):
            raise FaultError("letter-without-choices", f"the answer is {answer!r}, and no choices are given: {_CURE}")
        return answer
    if answer in choices:
        return answer
    if bare := _BARE.fullmatch(answer):
        letter, words = bare[1], None
    elif marked := _MARKED.fullmatch(answer):
        letter, words = marked[1] or marked[2], _plain(marked[3])
    else:
        letter, words = "", None
    place = LETTERS.find(letter) if letter else -1
    if 0 <= place < len(choices) and words in (None, _plain(choices[place])):
        return choices[place]
    raise FaultError("answer-not-in-choices", f"{answer[:80]!r} is none of {list(choices)}"[:300])


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold().rstrip(".")


def _marks(text: str) -> list[_Mark]:
    """All that may begin a choice; one that is glued to its words only at the beginning of a line, or in brackets."""
    found = []
    for match in _MARKER.finditer(text):
        style = (match[1], match[3])
        first = not text[text.rfind("\n", 0, match.start()) + 1 : match.start()].strip()
        glued = not text[match.end() : match.end() + 1].isspace()
        if (match[1] and match[3] != ")") or (glued and not first and style != ("(", ")")):
            continue
        found.append(_Mark(match.start(), match.end(), match[2], style, first))
    return found


def _run(marks: Sequence[_Mark], text: str | None = None) -> list[_Mark]:
    """The marks A, B, ... of one style that follow each other, from the first A that has a B behind it.

    With the text, A must begin a line or stand behind the end of a sentence.
    """
    for place, first in enumerate(marks):
        if first.letter != "A":
            continue
        if text is not None and not first.first and not text[: first.start].rstrip().endswith(("?", ".", "!", ":")):
            continue
        run = [first]
        for mark in marks[place + 1 :]:
            if mark.style == first.style and mark.letter == LETTERS[len(run) : len(run) + 1]:
                run.append(mark)
        if len(run) > 1 and (text is None or all(text[a.end : b.start].strip() for a, b in pairwise(run))):
            return run
    return []


def _last(text: str) -> tuple[str, str]:
    """The last of choices on one line, and an instruction behind it."""
    cut = _INSTRUCTION.search(text)
    last, more = (text[: cut.start()].rstrip(".;,"), text[cut.end() :]) if cut else (text, "")
    if _SENTENCE.search(last) or last.endswith("?"):
        raise FaultError("choices-unclear", f"where the choice {last[:120]!r} ends cannot be told: {_CURE}")
    return last, more
