"""Open answers: the words that a reply gives, and whether they are surely right, surely wrong, or neither.

Right: the reply states the expected words (or their number, or yes or no) and nothing that excludes them. Wrong: it
states one of the alternatives, or another number, basic colour, or the opposite of yes or no where one of these is
expected (`closed`). All else is undecided: "crimson" for "red" is for a judge, and never guessed at.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from benchmark.extract.clean import plain
from benchmark.extract.closed import LONGEST_ANSWER, QUANTITY, another, total
from benchmark.extract.marks import choices_of
from benchmark.extract.rules import Extracted, final_words, read, since_gone_back
from benchmark.extract.words import bare, number_of, spelled

_LEAD = re.compile(
    r"^\W*(?:(?:so|therefore|thus|hence|well|ok|okay|sure|yes|i think|i believe|i guess|i'd say|i would say|"
    r"maybe|probably|perhaps|"
    r"definitely|clearly|based on the (?:image|picture|photo)|in the (?:image|picture|photo))\b[\s,:]*)*"
    r"(?:(?:the |my )?(?:final |correct |best |short )?answer(?: to the question)?\s*(?:is|would be|should be|:|"
    r"=|-|—)+\s*|"
    r"(?:it|this|that|they|these|those|he|she)(?:'s|'re| is| are| was| were| looks?| appears?| seems?)(?: like|"
    r" to be)?\s+|"
    r"(?:there (?:is|are)|i see|i can see|we see)\s+)?(?:that\s+)?(?:(?:exactly|about|only|just|probably|"
    r"clearly|most likely)\s+)*",
    re.I,
)
_SUBJECT = re.compile(
    r"^\W*(?:the|this|that|its|his|her|their)\b[^.,;:\n]{1,60}?\s(?:is|are|was|were|looks|appears|seems|reads|"
    r"says)\s+"
    r"(?:(?:to be|like|clearly|probably|most likely|mostly)\s+)*",
    re.I,
)
_OPENING = "the a an my final correct best short answer answers is are was be it this that there i see so"
_SAYS_NOTHING = frozenset(_OPENING.split())
"""Words of a reply that was cut off before its answer."""


@dataclass(frozen=True)
class OpenAnswer:
    """What a reply to an open question says."""

    outcome: Literal["answer", "unparsed", "refused"]
    text: str | None
    """The answer's words: expected or alternative ones as they were given, or the reply's; null without an answer."""
    correct: bool | None
    """Null where the rules cannot decide: for a judge, and without one not right."""
    rule: str
    """Which rule decided."""


def open_answer(reply: str, expected: str | None, alternatives: Sequence[str] = ()) -> OpenAnswer:
    """What a reply to an open question says, and whether that is `expected`.

    Args:
        reply: the model's words.
        expected: the right answer; None where none is known.
        alternatives: answers that are known to be wrong, e.g. the choices of the same question (at most 25).
    """
    known = [text for text in dict.fromkeys([*([expected] if expected else []), *alternatives]) if bare(text)]
    found = read(reply, choices_of(tuple(known), lettered=False))
    if found.outcome == "answer":
        assert found.index is not None
        text = known[found.index]
        if _other_number(since_gone_back(final_words(reply)), text):
            return OpenAnswer("unparsed", None, None, "another-number")
        joined = _joined(final_words(reply), text)
        if joined == "or":
            return OpenAnswer("unparsed", None, None, "one-or-another")
        if joined == "and":
            return OpenAnswer("answer", _by_form(final_words(reply)) or text, None, "one-of-several")
        return OpenAnswer("answer", text, text == expected if expected else None, found.rule)
    return _unknown(reply, expected, found)


def _unknown(reply: str, expected: str | None, found: Extracted) -> OpenAnswer:
    """A reply in which no known answer was found."""
    said = " ".join(final_words(reply).split())
    closed = another(said, expected)
    if closed is not None:
        return OpenAnswer("answer", closed, False, "another-of-its-kind")
    if found.outcome == "refused" or found.rule not in ("nothing-stated", "set-apart"):
        return OpenAnswer(found.outcome, None, None, found.rule)
    text = _by_form(said)
    if text is None:
        return OpenAnswer("unparsed", None, None, found.rule)
    return OpenAnswer("answer", text, None, "by-form")


def _by_form(said: str) -> str | None:
    """The answer's words in a short reply of one sentence, e.g. "crimson" in "The cup is crimson."."""
    ended = said.strip(" .!,;:")
    if (
        not ended
        or re.search(r"[.!?;\n]", ended)
        or re.search(r"\b(?:or|not|never|neither|either)\b", spelled(ended), re.I)
    ):
        return None
    if not any(word.isalnum() and word not in _SAYS_NOTHING for word in re.findall(r"\w+", ended.lower())):
        return None
    for lead in (_SUBJECT, _LEAD):
        rest = lead.sub("", ended, count=1)
        if rest and rest != ended:
            return bare(rest) if 0 < len(rest.split()) <= LONGEST_ANSWER else None
    return bare(ended) or None if len(ended.split()) <= 4 else None


def _joined(said: str, text: str) -> str | None:
    """The word "or" where a reply names something else as an alternative to `text`, "and" where beside it."""
    pattern = choices_of((text,), lettered=False).pattern
    found = pattern.search(said) if pattern else None
    if found is None:
        return None
    before, after = said[max(0, found.start() - 20) : found.start()], said[found.end() : found.end() + 20]
    if re.search(r"(?:\bor|/)\s*(?:an?\s+|the\s+|\w+ly\s+)?$", before, re.I) or re.match(
        r"\s*(?:,?\s*or\b|/)", after, re.I
    ):
        return "or"
    return "and" if re.search(r"\band\s+$", before, re.I) or re.match(r"\s+and\s+\w", after, re.I) else None


def _other_number(said: str, text: str) -> bool:
    """Whether a reply that states a number says another one as well, as "3 or 4" does."""
    kind = bare(text)
    if number_of(kind) is None:
        return False
    if total(said) not in (None, kind):
        return True
    return len(plain(said).split()) <= 12 and any(bare(word) not in (kind, "1") for word in QUANTITY.findall(said))
