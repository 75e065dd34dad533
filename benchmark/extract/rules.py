"""From a reply to the choice that it names: rules that never guess.

What is set apart as the answer (boxes, <answer>, JSON), and places that claim an answer ("the answer is C", "C.",
"I choose green") are gathered, and all must agree; failing any, what is stated in a choice's own words. Wherever two
readings are possible the outcome is "unparsed".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from benchmark.extract.claims import Claim, claims
from benchmark.extract.clean import cleaned, plain
from benchmark.extract.marks import ANY_SIGN, DENIED, LETTER, LETTERS, OUTSIDE, SIGN, Choices, Marked, choices_of
from benchmark.extract.refusals import declines
from benchmark.extract.scopes import scoped
from benchmark.extract.statements import counted_otherwise, opposed, stated
from benchmark.extract.words import bare, spelled

VERSION = "4"
"""Of the rules: raised with every change that may read some reply otherwise."""

_BARE = re.compile(r"\s*(?:\*\*)?[(\[]?([A-Z])(?:[)\].:]{0,2}|[)\].:]{1,2} +([^\n]+?))(?:\*\*)?[.!]?\s*\Z")
_SIGN = re.compile(ANY_SIGN)
_MENTION = re.compile(SIGN)
_NEWLINE_AFTER_COLON = re.compile(r"(?<=[:：=])[ \t]*\n\s*")
_HEADING = re.compile(r"^[ \t]*((?:the |my )?(?:final |correct )?answer)[ \t]*\n\s*", re.I | re.M)
_GONE_BACK = re.compile(
    r"\b(?:wait|hold on|on second thoughts?|scratch that|correction|i was wrong|i made a mistake|my mistake|i misspoke|"
    r"let me re\w+|"
    r"let me correct|change my (?:answer|mind)|changed my mind|reconsider\w*|no,? actually|i take that back|"
    r"oops|strike that|i stand corrected|"
    r"revis(?:ed|ing) (?:my )?answer|(?:corrected|updated) answer)\b|"
    r"(?:^|[.!?\n]\s*)(?:no|actually|sorry|hmm|rather|or rather)\b[,:.—–-]|"
    r"\bi mean\b|\bactually\b|[,;]\s*no\b[,\s]|\bmake that\b"
)
_ANOTHER_QUESTION = re.compile(r"\n\s*(?:question|user|human)\s*\d{0,3}\s*:", re.I)
_WAVERS = re.compile(
    r"\bi(?: am|'m)? (?:(?:keep|just|still|am) )*(?:go|going) back and forth\b|\bi cannot make up my mind\b|"
    r"\bi cannot (?:decide|choose)(?=\s*(?:$|[.,;!\n]|between\b|which\b))|"
    r"\b(?:i am|i'm) (?:still )?(?:torn|undecided|on the fence)\b"
)
"""Says that no answer was reached, where none follows."""
_LETTER_FIRST = re.compile(r"\s*(?:[(\[{<*_]\s*)*A(?:\s*[\])}>*_:.]|\s*\n|\s+(?:yes|no)[\s.!*_]*\Z)", re.I)
"""An "A" that is a letter and no article."""
_SET_OFF = re.compile(r"\A\s*(?:\*\*?|__?)A(?:\*\*?|__?)(?=\s+\w)|\A[\s*_]*A(?=\s+(?:yes|no)[\s.!*_]*\Z)", re.I)
"""The same, where its marks would be lost as markup, or it has none."""
_OFFERS = re.compile(
    rf"\b(?:might|may|could|maybe|perhaps|possibly|either|probably|likely)\b[^.!?;\n\ue000-\ue5ff]{{0,30}}{SIGN}"
    rf"(?:[^.!?;\n\ue000-\ue5ff]{{0,20}}\bor\b[^.!?;\n\ue000-\ue5ff]{{0,20}}{SIGN})?|"
    rf"(?<!, ){SIGN}\)?,? or (?:(?:an?|the|maybe|perhaps|option) )*\(?{SIGN}"
)
_FIRM = re.compile(
    r"\b(?:wait|hold on|scratch that|i was wrong|i made a mistake|my mistake|i misspoke|i take that back|strike that|"
    r"oops|on second thoughts?)\b"
)


@dataclass(frozen=True)
class Extracted:
    """What a reply to a question with choices names."""

    outcome: Literal["answer", "unparsed", "refused"]
    index: int | None
    """Place of the named choice; null unless the outcome is "answer"."""
    rule: str
    """Which rule decided."""


def extracted(reply: str, choices: Sequence[str]) -> Extracted:
    """The choice that a reply names.

    The choices are taken to have been shown with letters from A on, in this order. Time is linear in the length of
    the reply.

    Raises:
        ValueError: there are no choices, or more than 26.
    """
    if not choices:
        raise ValueError("a question without choices: use open_answer")
    return (_quick(reply, choices) if len(reply) < 100 else None) or read(reply, choices_of(tuple(choices)))


def _quick(reply: str, choices: Sequence[str]) -> Extracted | None:
    """What `read` makes of the commonest replies, in less time: a letter, alone or with its words behind it."""
    if any(len(choice) < 4 and len(bare(choice)) == 1 for choice in choices):
        return None
    words = reply.strip(" .\n").lower()
    same = [index for index, choice in enumerate(choices) if choice.lower() == words]
    if len(same) == 1 and len(words) > 1:
        return Extracted("answer", same[0], "words")
    found = _BARE.match(reply)
    if found is None:
        return None
    place = LETTERS.index(found[1])
    if place < len(choices) and found[2] in (None, choices[place]):
        return Extracted("answer", place, "letter")
    return None


def read(reply: str, choices: Choices) -> Extracted:
    """As `extracted`, of prepared choices."""
    found = cleaned(reply)
    if found.cut:
        return Extracted("unparsed", None, "thought-cut")
    if found.json and not found.answers:
        declined = declines(spelled(plain(found.reasons)).lower())
        return Extracted("refused" if declined else "unparsed", None, "json-without-answer")
    apart = [_read_text(part, choices) for part in found.answers]
    if any(part.outcome != "answer" for part in apart):
        declined = all(part.outcome == "refused" for part in apart)
        return Extracted("refused" if declined else "unparsed", None, "set-apart")
    places = {part.index for part in apart}
    beside = [_as_a_whole(part, choices) for part in found.beside]
    if any(whole is not None and whole.index not in places for whole in beside):
        return Extracted("unparsed", None, "json-differs")
    if len(places) > 1:
        last = (
            _read_text(since_gone_back(spelled(found.text)), choices) if _GONE_BACK.search(found.text.lower()) else None
        )
        if last is not None and last.outcome == "answer" and last.index == apart[-1].index:
            return Extracted("answer", last.index, "set-apart-corrected")
        return Extracted("unparsed", None, "set-apart-differ")
    if not places:
        return _before_another_question(found.text, choices) or _read_text(found.text, choices)
    named = frozenset(place for place in places if place is not None)
    _, _, made = _claims(found.text, choices)
    kept = _settled([Claim(named, len(found.text), "set-apart"), *made])
    return (
        Extracted("answer", kept, "set-apart")
        if kept is not None
        else Extracted("unparsed", None, "set-apart-disputed")
    )


def _before_another_question(text: str, choices: Choices) -> Extracted | None:
    """What a reply names before it goes on to ask itself another question, as base models do."""
    other = _ANOTHER_QUESTION.search(text)
    first = _read_text(text[: other.start()], choices) if other and text[: other.start()].strip() else None
    return first if first is not None and first.outcome == "answer" else None


def _read_text(text: str, choices: Choices) -> Extracted:
    """The choice that a text names which has nothing set apart in it."""
    whole = _as_a_whole(text, choices)
    if whole is not None:
        return whole
    marked, signs, made = _claims(text, choices)
    if not signs.strip():
        return Extracted("unparsed", None, "empty")
    if any(len(claim.meant) == 1 for claim in made):
        place = _settled(made)
        if place is None or place >= len(choices.texts):
            return Extracted("unparsed", None, "claims-differ")
        if _denied(signs, place):
            return Extracted("unparsed", None, "claimed-and-denied")
        if all(claim.weak for claim in made if len(claim.meant) == 1) and _others(marked, signs, place):
            return Extracted("unparsed", None, "only-possible")
        if all(claim.rule in ("initial", "alone") for claim in made) and opposed(marked, signs, place):
            return Extracted("unparsed", None, "letter-and-sentence-differ")
        if chr(LETTER + place) in signs and counted_otherwise(marked, signs, place):
            return Extracted("unparsed", None, "letter-and-count-differ")
        return Extracted("answer", place, next(claim.rule for claim in made if claim.meant == {place}))
    if made:
        return Extracted("unparsed", None, "several-claimed")
    named, rule = stated(marked, signs)
    if len(named) > 1 and (later := since_gone_back(signs)) != signs:
        named, rule = stated(marked, later)
    if len(named) == 1 and OUTSIDE not in named and not _denied(signs, next(iter(named))):
        return Extracted("answer", next(iter(named)), rule)
    if declines(signs) and not _hedged(marked, signs):
        return Extracted("refused", None, "declines")
    return Extracted("unparsed", None, rule)


def said_aloud(reply: str) -> str:
    """A reply without its thoughts and special tokens; markup is still there."""
    found = cleaned(reply)
    return "; ".join(found.answers) if found.json else found.text


def since_gone_back(text: str) -> str:
    """What a reply says after it has last gone back on what it said before; all of it, where it has not."""
    backs = list(_GONE_BACK.finditer(text.lower()))
    return text[backs[-1].end() :] if backs else text


def final_words(reply: str) -> str:
    """What a reply says in the end: what it sets apart as its answer, or all but its thoughts; in one spelling."""
    found = cleaned(reply)
    return spelled(plain(found.answers[-1] if found.answers else found.text))


def _as_a_whole(text: str, choices: Choices) -> Extracted | None:
    """A reply that is a choice's words and nothing else, and no letter besides."""
    if len(text) > 400:
        return None
    said = bare(plain(text))
    if not said or (choices.lettered and ((len(said) == 1 and said.isalpha()) or _LETTER_FIRST.match(text))):
        return None
    same = [index for index, words in enumerate(choices.bares) if words == said]
    return Extracted("answer", same[0], "words") if len(same) == 1 else None


def _claims(text: str, choices: Choices) -> tuple[Marked, str, list[Claim]]:
    """(The marked reply, its text with scopes, the claims that were not taken back)."""
    words = spelled(plain(_SET_OFF.sub("A)", text))).strip()
    words = _HEADING.sub(r"\1: ", _NEWLINE_AFTER_COLON.sub(" ", words))
    marked = Marked(words, choices)
    if not _SIGN.search(marked.text):
        return marked, marked.text, []
    signs = scoped(marked.text)
    return marked, signs, _kept(claims(marked, signs), signs)


def _kept(made: list[Claim], text: str) -> list[Claim]:
    """Without the claims before the reply goes back on them, where there are others behind."""
    refined = [claim.place for claim in made if claim.rule == "refined"]
    made = [claim for claim in made if claim.place >= refined[-1]] if refined else made
    wavers = _WAVERS.search(text, made[-1].place) if made else None
    if wavers:
        return [Claim(frozenset([OUTSIDE]), wavers.start(), "wavers")]
    for back in reversed(list(_GONE_BACK.finditer(text))):
        later = [claim for claim in made if claim.place >= back.end() - 1]
        if later and len(later) < len(made):
            return later
        if made and not later and _FIRM.search(back[0]):
            return [Claim(frozenset([OUTSIDE]), back.start(), "taken-back")]
    return made


def _settled(made: Sequence[Claim]) -> int | None:
    """The one choice that all claims allow and some claim names alone."""
    firm = max((claim.place for claim in made if not claim.weak), default=-1)
    made = [claim for claim in made if not claim.weak or claim.place > firm]
    alone = {next(iter(claim.meant)) for claim in made if len(claim.meant) == 1}
    if len(alone) != 1:
        return None
    place = alone.pop()
    return place if all(place in claim.meant for claim in made) else None


def _others(marked: Marked, text: str, place: int) -> bool:
    """Whether a reply mentions another choice, which it neither denies nor only supposes."""
    return any(marked.meaning(sign) != {place} for sign in _MENTION.findall(text))


def _hedged(marked: Marked, text: str) -> bool:
    """Whether a reply offers more than one choice as what could be: it names too many, and does not decline."""
    offered = [sign for found in _OFFERS.finditer(text) for sign in _MENTION.findall(found[0])]
    return len(frozenset().union(*(marked.meaning(sign) for sign in offered)) - {OUTSIDE}) > 1


def _denied(text: str, place: int) -> bool:
    """Whether a reply denies what it names, after it has last gone back on anything."""
    return chr(DENIED + place) in since_gone_back(text)
