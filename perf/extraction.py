"""How well answers are read out of replies: first contacts, now, and the published rules of two other harnesses.

    python perf/extraction.py

The rules of the others are written anew from descriptions of what they do; none of their code is here. They have no
word for a reply that declines, so for all three only the named choice counts: a reply that names none is right where
the label is "unparsed" or "refused".
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))
from benchmark.extract import VERSION, extracted
from slvr_data.stats import wilson
from tests.benchmark.labelled import AUTHORS, INDEPENDENT, Labelled, first_contacts, labelled, of_form, sha256, tally

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
Rules = Callable[[str, Sequence[str]], int | None]


def first_match(reply: str, choices: Sequence[str]) -> int | None:
    """lmms-eval's V*: the first of a list of forms that is found in the reply, in capitals; letters A to D only.

    A letter at the very beginning (of a word, too), then one behind "answer", "choice" or "option", in round brackets,
    before a full stop or bracket, alone between spaces; at last the only such letter in the whole reply.
    """
    said = reply.strip().upper()
    forms = (
        r"\A([A-D])",
        r"(?:ANSWER|CHOICE|OPTION)(?: ?IS)?[\s:]+([A-D])",
        r"\(([A-D])\)",
        r"([A-D])\s*[.)\]]",
        r"(?<!\S)([A-D])(?!\S)",
    )
    for form in forms:
        found = re.search(form, said)
        if found:
            return _within(found[1], choices)
    letters = [sign for sign in said if sign in "ABCD"]
    return _within(letters[0], choices) if len(letters) == 1 else None


def among_the_last_words(reply: str, choices: Sequence[str]) -> int | None:
    """VLMEvalKit before its judge: the only letter that is a word and is among the last five; else the only choice
    whose words are somewhere in a reply that is not more than twice as long as all choices together.
    """
    words = re.sub(r"[.()\[\],:;!*#{}]", " ", reply).split()
    named = [letter for letter in LETTERS[: len(choices)] if letter in words]
    if len(named) == 1 and words.index(named[0]) >= len(words) - 5:
        return LETTERS.index(named[0])
    if len(reply) > 2 * sum(map(len, choices)):
        return None
    found = [index for index, choice in enumerate(choices) if choice.lower() in reply.lower()]
    return found[0] if len(found) == 1 else None


def ours(reply: str, choices: Sequence[str]) -> int | None:
    """These rules."""
    return extracted(reply, choices).index


def _within(letter: str, choices: Sequence[str]) -> int | None:
    return LETTERS.index(letter) if LETTERS.index(letter) < len(choices) else None


def compared(replies: Sequence[Labelled], rules: Rules) -> tuple[int, int, int]:
    """(Right, misread, unread), by the named choice alone."""
    right = misread = unread = 0
    for one in replies:
        index = rules(one.reply, one.choices)
        if index == one.index:
            right += 1
        elif index is None:
            unread += 1
        else:
            misread += 1
    return right, misread, unread


def main() -> None:
    """Print all."""
    for file, first in zip(INDEPENDENT, first_contacts(), strict=True):
        assert sha256(file) == first["file_sha256"], f"{file.name} was changed: start anew"
        _print_contact(first)
    for file in (*INDEPENDENT, AUTHORS):
        now = tally(labelled(file))
        share = f"{now['right']} of {now.total()} right, {now['right'] / now.total():.1%}"
        print(f"{file.stem}, rules {VERSION}: {share}; {now['misread']} misread, {now['unread']} unread")
    _print_compared()
    for reply in ("C", "C. green", "The answer is C.", "The cup is green."):
        started = time.perf_counter()
        for _ in range(200):
            extracted(reply, ("red", "blue", "green", "white"))
        print(f"{reply!r}: {(time.perf_counter() - started) / 200 * 1e6:.0f} us")


def _print_contact(first: dict[str, Any]) -> None:
    """One first contact: all, those with choices, and the open ones."""
    for name, part in (("all", first), ("with choices", first["lettered"]), ("open", first["open"])):
        if not part["replies"]:
            continue
        low, high = wilson(part["right"], part["replies"])
        print(f"first contact, rules {first['rules_version']}, {first['file']}, {name}: {part['right']} of "
              f"{part['replies']} right, {part['right'] / part['replies']:.1%} (95 %: {low:.1%} to {high:.1%}); "
              f"{part['misread']} misread, {part['unread']} unread")  # fmt: skip


def _print_compared() -> None:
    """All rules, by the named choice alone."""
    print("\n| replies with choices | rules | right | names another or where none is named | names none |")
    print("| --- | --- | --- | --- | --- |")
    all_rules = (
        (f"ours, version {VERSION}", ours),
        ("lmms-eval V*", first_match),
        ("VLMEvalKit, before its judge", among_the_last_words),
    )
    contacts = {first["file"]: first for first in first_contacts()}
    for file in (*INDEPENDENT, AUTHORS):
        replies = of_form(labelled(file), lettered=True)
        if first := contacts.get(file.name):
            named = first["lettered"]["named_choice"]
            who = f"ours, version {first['rules_version']}, first contact"
            _print_row(file, len(replies), who, (named["right"], named["misread"], named["unread"]))
        for who, rules in all_rules:
            _print_row(file, len(replies), who, compared(replies, rules))


def _print_row(file: Path, number: int, who: str, counts: tuple[int, int, int]) -> None:
    right, misread, unread = (count / number for count in counts)
    print(f"| {file.stem} ({number}) | {who} | {right:.1%} | {misread:.1%} | {unread:.1%} |")


if __name__ == "__main__":
    main()
