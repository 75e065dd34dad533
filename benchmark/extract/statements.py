"""What a marked reply states in a choice's own words, where it makes no claim: "The cup is green."

A mention counts where it begins a sentence or is what the sentence's verb says of its subject. One that stands in the
description of something else ("next to the red house") does not.
"""

from __future__ import annotations

import re

from benchmark.extract.claims import behind_initial, sentences
from benchmark.extract.marks import LETTER, LETTER_SIGN, PAIR_SIGN, SIGN, Marked
from benchmark.extract.words import CONCLUDES, FILLERS

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
    r"\bsay|\bit as|\bknown as|:|—|–|=|→|是|est|ist|es|sind|son|sont)"
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
    r"a sort of|part of)\s+)"
)
_WORD = rf"(?:(?!(?:{_BREAKS})\b)[^\W\d_][\w']*\s+)"
_STATED = re.compile(
    rf"^[^\w\ue000-\ue5ff]*(?P<lead>(?:[^\W\d_][\w']*[\s,:;]+){{0,6}}?)(?P<first>{_SAID})|"
    rf"{_VERB}\s*{_WORD}{{0,4}}(?:{_MADE}(?:(?:a|an|the|some)\s+)?)?{_WORD}{{0,2}}(?P<said>{_SAID})|"
    rf"{_VERB}\s*{_WORD}{{0,3}}{_PLACED}(?P<place>{_SAID}){_TAIL}|"
    rf"\b(?:so|therefore|thus|hence|but|rather|actually)\b,?\s*(?:(?:the|an?)\s+)?(?P<turn>{_SAID}){_TAIL}"
)
_VERBED = re.compile(
    r"^(?:(?:it|this|that|they)\s+(?=can))?(?:cannot|can't|can|is|are|not|does|do|has|none|there|nothing|no)\s", re.I
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
_BUT = re.compile(r"\bbut\s+(?=(?:it\s+|they\s+)?(?:is|are|was|were|actually|really)\b)|\bbut\s+(?=it's\b)")
_LETTERS = re.compile(LETTER_SIGN)
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
            return everything, "several-mentioned"
        last = _meant(marked, _SIGNS.findall(found[-1]))
        named = _predicated(marked, found[-1])
        return (named, "concluded-words") if named == last and len(last) == 1 else (everything, "several-mentioned")
    if len(mentioned) == 1:
        for sentence in found:
            if _predicated(marked, sentence):
                return mentioned, "stated"
    return _option_at_the_end(marked, found, everything)


def opposed(marked: Marked, text: str, place: int) -> bool:
    """Whether a reply begins with the letter of a choice, and its next sentence states another: "A: The cup is blue.".

    Not where that sentence speaks of options, nor where it or a later one states the choice of the letter, unless the
    first takes that back ("it looks red but is blue").
    """
    begun = behind_initial(text)
    if begun is None or ord(begun[0]) != LETTER + place or len(text) > LONGEST:
        return False
    found = sentences(begun[1])
    if not found or _LETTERS.search(found[0]):
        return False
    back = _BUT.search(found[0])
    if back and (turned := _predicated(marked, found[0][back.end() :], loose=False)):
        return place not in turned
    first = _predicated(marked, found[0], loose=False)
    return bool(first) and not any(place in _predicated(marked, sentence) for sentence in found)


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
        known = all(word in _LEADS for word in re.findall(r"[^\W\d_][\w']*", lead))
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
