"""Labelled replies, and what rules make of them."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from benchmark.extract import extracted, open_answer
from benchmark.extract.words import bare

FOLDER = Path(__file__).parent / "conformance"
AUTHORS = FOLDER / "authors.jsonl"
INDEPENDENT = tuple(FOLDER / f"independent{number}.jsonl" for number in ("", 2, 3, 4))
"""Written by somebody who had not seen the rules; each later one by somebody who had not seen the earlier either."""
TINY = FOLDER / "tiny.jsonl"
"""Of `slvr:tiny`, as it wrote them about changed pictures: bare letters, and all that are none."""
FIRST_CONTACT = FOLDER / "first_contact.json"
"""What a version of the rules made of each, when it read it once and nothing had been mended after it."""
Read = Literal["right", "misread", "unread"]
"""As labelled; an answer where the label has another or none; no answer, or a wrong kind of none, where it has one."""


@dataclass(frozen=True)
class Labelled:
    """A reply and what a person says of it."""

    reply: str
    choices: tuple[str, ...]
    expected: str | None
    """Of an open question."""
    outcome: str
    index: int | None
    text: str | None
    """The named choice or answer; "right" or "wrong" where only that was labelled of an open answer."""
    note: str


def labelled(file: Path) -> list[Labelled]:
    """All replies of a file."""
    found = []
    for line in file.read_text(encoding="utf-8").splitlines():
        tree: dict[str, Any] = json.loads(line)
        label = tree["label"]
        place = label["outcome"], label["index"], label["text"]
        found.append(Labelled(tree["reply"], tuple(tree["choices"]), tree["expected_open"], *place, tree["note"]))
    return found


def read(one: Labelled) -> Read:
    """What our rules make of a reply."""
    if one.choices:
        found = extracted(one.reply, one.choices)
        return judged(one, found.outcome, found.index)
    answer = open_answer(one.reply, one.expected)
    if answer.outcome != one.outcome:
        return "misread" if answer.outcome == "answer" else "unread"
    if one.outcome != "answer":
        return "right"
    if one.text in ("right", "wrong"):
        said = {True: "right", False: "wrong", None: None}[answer.correct]
        return "right" if said == one.text else "unread" if said is None else "misread"
    return "right" if bare(answer.text or "") == bare(one.text or "") else "misread"


def judged(one: Labelled, outcome: str, index: int | None) -> Read:
    """A reading against the label."""
    if (outcome, index) == (one.outcome, one.index):
        return "right"
    return "misread" if outcome == "answer" else "unread"


def tally(replies: Iterable[Labelled], how: Callable[[Labelled], Read] = read) -> Counter[Read]:
    """How often each."""
    return Counter(map(how, replies))


def sha256(file: Path) -> str:
    """Of a file."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def first_contacts() -> list[dict[str, Any]]:
    """The recorded first contacts, one of each independent file, in their order."""
    contacts: list[dict[str, Any]] = json.loads(FIRST_CONTACT.read_text(encoding="utf-8"))
    return contacts


def of_form(replies: Sequence[Labelled], lettered: bool) -> list[Labelled]:
    """Those with choices, or those without."""
    return [one for one in replies if bool(one.choices) == lettered]
