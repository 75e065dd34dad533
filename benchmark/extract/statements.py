"""What a marked reply states in a choice's own words, where it makes no claim: "The cup is green."

A mention counts where it begins a sentence or is what the sentence's verb says of its subject. One that stands in the
description of something else ("next to the red house") does not.
"""

from __future__ import annotations

import re

from benchmark.extract.claims import behind_initial, sentences
from benchmark.extract.closed import QUANTITY
from benchmark.extract.marks import LETTER, LETTER_SIGN, PAIR_SIGN, SIGN, TEXT_SIGN, Marked
from benchmark.extract.words import CONCLUDES, FILLERS, NUMBERS, number_of

LONGEST = 6000
"""Characters of a marked reply in which statements are looked for: longer ones have to name their answer."""

_SAID = "[\ue100-\ue2ff]"
_VERB = (
    r"(?:\bis|\bare|\bwas|\bwere|'s|\bbe|\bbeing|\blooks?|\bappears?|\bseems?|\bremains|\bhas|\bhave|\bwears?|"
    r"\bwearing|\bholds?|"
    r"\bholding|\bsays|\breads|\bshows?|\bsee|\bdisplays|\bmade of|\bmade from|\bmade out of|\bcalled|"
    r"\blabell?ed|\bpainted|\bcolored|"
    r"\bfacing|\bfaces|\bpoints?|\bpointing|\blies|\bsits|\bstands|\bhangs|\blocated|\bpositioned|\bsituated|"
    r"\bplaced|\bcount|"
    r"\bcontains?|\bthere are|\bthere is|\bcolor is|\bfeatures?|\bdescribed as|\bdescribe it as|\bcall it|"
    r"\bdepicts?|\bis doing|\bdoing|\banswer|"
    r"\bse ven?|\bse observan?|\bil y a|\bon voit|"
    r"\btypical of|\btypical for|\bcharacteristic of|\bsay|\bit as|\bknown as|:|—|–|=|→|是|est|ist|es|sind|son|sont)"
)
_BREAKS = (
    "next|beside|besides|behind|near|nearby|under|below|beneath|over|above|with|without|than|by|between|around|"
    "against|across|"
    "inside|outside|front|like|similar|from|for|of|on|in|at|to|not|no|and|or|but|because|that|which|who|whose|"
    "while|where|"
    "when|as|if|is|are|was|were|has|have|does|do|holding|wearing|along|among|past|towards?|off|onto|into|"
    "through|close|far|same|"
    "opposite"
)
_PLACED = (
    r"(?:(?:up |down |over |out |found |located |positioned |situated |placed |standing |sitting |lying |taken |"
    r"set |shot |"
    r"parked |\w+ly )?(?:in|on|at|to|toward|towards)\s+(?:(?:the|an?|its|his|her|their)\s+)?)"
)
_TAIL = (
    r"(?=\s*(?:$|[^\w\s']|\b(?:side|part|corner|half|edge|area|region|section|end|portion|hand|third|of|from|in|"
    r"and|with|relative|when|"
    r"because|as|where|which|within|at|near|next|behind|i|so|based)\b))"
)
_MADE = (
    r"(?:(?:made (?:out )?(?:of|from)|a shade of|the color|colored|painted|of|in color|a kind of|a type of|"
    r"a sort of|part of|(?:typical|characteristic) (?:of|for)|"
    r"(?:painted|made|drawn|written|created|designed|taken) by)\s+)"
)
_WORD = rf"(?:(?!(?:{_BREAKS})\b)[^\W\d_][\w']*\s+)"
_STATED = re.compile(
    rf"^[^\w\ue000-\ue5ff]*(?P<lead>(?:[^\W\d_][\w']*[\s,:;]+){{0,6}}?)(?P<first>{_SAID})|"
    rf"{_VERB}\s*(?:[ld]'|un'|{_WORD}{{0,4}})(?:{_MADE}(?:(?:a|an|the|some)\s+)?)?{_WORD}{{0,2}}(?P<said>{_SAID})|"
    rf"{_VERB}\s*{_WORD}{{0,3}}{_PLACED}(?P<place>{_SAID}){_TAIL}|"
    rf"(?:\b(?:so|therefore|thus|hence|but|rather|actually|sino|sondern|mais)\b,?|而是)\s*"
    rf"(?:(?:the|an?|un|une|una|eine?|einen|le|la|les|el|der|die|das)\s+)?(?P<turn>{_SAID}){_TAIL}"
)
_VERBED = re.compile(
    r"^(?:(?:it|this|that|they)\s+(?=can)|(?:it|they|he|she|there)\s+(?=is\b|are\b|was\b|were\b|has\b|have\b))?"
    r"(?:cannot|can't|can|is|are|not|does|do|has|none|there|nothing|no)\s",
    re.I,
)
_NAMED_OPTION = re.compile(rf"\b(?:option|choice|answer|letter)\s*[(\[:]?\s*({LETTER_SIGN})[)\]\s]*$")
_CONSIDERS = re.compile(
    r"\b(?:consider|considering|eliminat\w*|exclud\w*|discard\w*|start\w*|look\w* at|check\w*|examin\w*|let's|"
    r"let us|about)\b"
)
_SHADES = (
    "light dark bright deep pale vivid solid plain mostly mainly primarily predominantly completely entirely slightly "
    "directly immediately straight"
)
_LEADS = FILLERS | frozenset(_SHADES.split())
_COUNTS = _LEADS | frozenset((*NUMBERS[2:13], "several", "many", "few", "pair"))
_BUT = re.compile(r"\bbut\s+(?=(?:it\s+|they\s+)?(?:is|are|was|were|actually|really)\b)|\bbut\s+(?=it's\b)")
_SO = re.compile(
    r"(?:^|[,;:—–]\s*(?:and\s+)?)\b(?:so|therefore|thus|hence|consequently)\b,?\s+"
    r"(?!(?:that|far|much|many|close|long|as|is|are|not|too|do|does)\b)"
)
_MAYBE = re.compile(r"\b(?:maybe|perhaps|possibly|might|may|could|or)\b")
_RELATED = re.compile(rf"{SIGN}\s+(?:of|than|to|from|next)\b")
_SUMMED = re.compile(rf"[+×*]\s*(?:\d+|{SIGN})\s*=\s*({TEXT_SIGN})\W*$")
_LETTERS = re.compile(LETTER_SIGN)
_COUNTED = re.compile(
    r"\b(?:there (?:is|are)|(?:i|we) (?:can )?(?:see|count|counted)|(?:image|picture|photo) shows|a total of)\s+"
    rf"(?:(?:only|exactly|just|clearly|a total of)\s+)*({TEXT_SIGN})"
)
_SIGNS = re.compile(SIGN)
_SAIDS = re.compile(_SAID)


def stated(marked: Marked, text: str) -> tuple[frozenset[int], str]:
    """(The one choice that is stated, the rule); the choices that are, where there are more; none."""
    if len(text) > LONGEST:
        return frozenset(), "too-long"
    found = sentences(text)
    everything = _meant(marked, _SIGNS.findall(text))
    mentioned = _meant(marked, _SAIDS.findall(text))
    if len(everything) > 1 and found:
        if not CONCLUDES.match(found[-1]):
            return _concluded(marked, found) or (everything, "several-mentioned")
        last = _meant(marked, _SIGNS.findall(found[-1]))
        named = _predicated(marked, found[-1])
        return (named, "concluded-words") if named == last and len(last) == 1 else (everything, "several-mentioned")
    if len(mentioned) == 1:
        for sentence in found:
            if _predicated(marked, sentence):
                return mentioned, "stated"
    return _option_at_the_end(marked, found, everything)


def _concluded(marked: Marked, found: list[str]) -> tuple[frozenset[int], str] | None:
    """What the last sentence concludes behind "so", or calculates; None where that is not one choice."""
    clauses = list(_SO.finditer(found[-1]))
    if clauses and not _MAYBE.search(clause := found[-1][clauses[-1].end() :]):
        named = _predicated(marked, clause, loose=False)
        if len(named) == 1 and not _RELATED.search(clause) and named == _meant(marked, _SIGNS.findall(clause)):
            return named, "concluded-words"
    summed = _SUMMED.search(found[-1])
    return (marked.meaning(summed[1]), "calculated") if summed else None


def opposed(marked: Marked, text: str, place: int) -> bool:
    """Whether a reply begins with the letter of a choice, and its next sentence states another: "A: The cup is blue.".

    Not where that sentence speaks of options, nor where it or a later one states the choice of the letter, unless the
    first takes that back ("it looks red but is blue").
    """
    begun = behind_initial(text)
    if begun is None or ord(begun[0]) != LETTER + place or len(text) > LONGEST:
        return False
    found = sentences(begun[1])
    if not found or _LETTERS.search(found[0]) or (marked.choices.numeric and _amounts(found[0]) > 1):
        return False
    back = _BUT.search(found[0])
    if back and (turned := _predicated(marked, found[0][back.end() :], loose=False)):
        return place not in turned
    first = _predicated(marked, found[0], loose=False)
    return bool(first) and not any(place in _predicated(marked, sentence) for sentence in found)


def counted_otherwise(marked: Marked, text: str, place: int) -> bool:
    """Whether a reply that names a choice by its letter counts another number, the only one that it tells."""
    if not all(number_of(words) is not None for words in marked.choices.bares) or len(text) > LONGEST:
        return False
    counted = _COUNTED.search(text)
    others = _meant(marked, _SIGNS.findall(_LETTERS.sub("", text)))
    return counted is not None and _amounts(text) == 1 and others == marked.meaning(counted[1]) != {place}


def _amounts(text: str) -> int:
    """How many numbers a text tells, in choices' words or others."""
    return len(_SAIDS.findall(text)) + len(QUANTITY.findall(text))


def _predicated(marked: Marked, sentence: str, loose: bool = True) -> frozenset[int]:
    """The choices that a sentence says of its subject; `loose`: also one that only begins it ("red car")."""
    named: set[str] = set()
    for found in _SAIDS.finditer(sentence):
        index = next(iter(marked.meaning(found[0])))
        if index < len(marked.choices.texts) and _VERBED.match(marked.choices.texts[index]):
            named.add(found[0])
    place = 0
    while match := _STATED.search(sentence, place):
        sign = match["first"] or match["said"] or match["place"] or match["turn"]
        lead = match["lead"] or ""
        leads = _LEADS if marked.choices.numeric else _COUNTS
        known = all(word in leads for word in re.findall(r"[^\W\d_][\w']*", lead))
        if match["first"] is None or (known and (loose or _begins(sentence, match))):
            if not _only_at_start(marked, sign) or _begins(sentence, match):
                named.add(sign)
            place = match.end()
        else:
            later = _LATER.search(sentence, place)
            if later is None:
                break
            named.add(later["said"] or later["place"] or later["turn"])
            place = later.end()
    return _meant(marked, list(named))


_LATER = re.compile(_STATED.pattern.split("|", 1)[1])


def _only_at_start(marked: Marked, sign: str) -> bool:
    """Whether a choice is "yes" or "no", which in the middle of a sentence say something else."""
    index = next(iter(marked.meaning(sign)))
    return marked.choices.texts[index].strip(" .").lower() in ("yes", "no")


def _begins(sentence: str, match: re.Match[str]) -> bool:
    return match["first"] is not None and bool(re.match(r"\s*(?:$|[,;:—–-])", sentence[match.end() :]))


def _option_at_the_end(marked: Marked, found: list[str], everything: frozenset[int]) -> tuple[frozenset[int], str]:
    """The only option that a reply names, at the end of its last sentence."""
    if found and len(everything) == 1 and not _CONSIDERS.search(found[-1]):
        named = _NAMED_OPTION.search(found[-1])
        if named:
            return everything, "only-option"
        if re.search(rf"{PAIR_SIGN}[\s)\]]*$", found[-1]):
            return everything, "only-pair"
    return frozenset(), "nothing-stated"


def _meant(marked: Marked, signs: list[str]) -> frozenset[int]:
    return frozenset().union(*(marked.meaning(sign) for sign in signs)) if signs else frozenset()
