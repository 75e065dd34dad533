"""Which mentions are denied, and which are only supposed: their signs change, and no rule takes them for answers."""

from __future__ import annotations

import re
from collections.abc import Iterator

from benchmark.extract.marks import DENIED, MIXED, SIGN, SUPPOSED

_GUESSING = re.compile(
    r"\b(?:even )?if (?:i|we) (?:had|have|were|was|am|must|were forced|am forced|had been forced|need|"
    r"needed)(?: forced)? to "
    r"(?:guess|choose|pick|say|answer|decide|select|make a guess|take a guess)(?: one| an answer)?\b|"
    r"\bif i am not mistaken\b|\bif i'm not mistaken\b|\bif (?:we|you|i) (?:look|zoom|ask)[^,.\n]{0,60},|"
    r"\bno (?:doubt|question)\b|"
    r"\bwithout (?:a |any )?doubt\b|\bwhy not\b|\bif anything\b|\bnot only\b|\bnothing but\b"
)
_HEDGE = re.compile(
    r"\b(?:not (?:sure|certain|confident|clear|obvious|evident|possible|easy|know|able|visible|convinced)|"
    r"unsure|unclear|"
    r"cannot (?:tell|say|see|determine|decide|be sure|be certain|be determined|know|make out|answer|confirm|"
    r"read|view)|"
    r"hard to|difficult to|impossible to|unable to|uncertain|if|whether|unless|suppose|supposing|imagine|assuming|"
    r"had it been|were it|between|from among|among|wondering|i was going to|at first|initially|(?:initial|first|"
    r"original) (?:thought|guess|impression|instinct|answer|reaction)|"
    r"(?<!rather )(?<!other )than|"
    r"(?:common|easy|typical|frequent|usual|classic) (?:mistake|error|trap|pitfall|misconception)s?|"
    r"(?:one|some|someone|many|people|others|somebody|you) (?:might|may) (?:be tempted|think|choose|pick|select|guess|"
    r"assume|argue|mistake)|"
    r"(?:though|although|while|despite)\b[^.!?;,\n]{0,30}?\b(?:looks?|seems?|appears?|looked|seemed|appeared)|"
    r"first,? i thought|i first thought|mista(?:ke[ns]?|king) (?:\w+ )?for|confused? (?:\w+ )?with|"
    r"would have been|used to|might seem|may seem|might think|might be tempted|tempted)\b"
)
_CONTRARY = re.compile(r"\bif\b[^.!?\n]{0,100}?\b(?:were|had)\b")
"""Contrary to fact, consequence and all."""
_AT_FIRST = re.compile(rf"{SIGN}(?=[^.!?\n,]{{0,20}}\s(?:at first|initially)\b)")
_DENIAL = re.compile(
    r"\b(?:(?:anything|everything|all) but|not|never|neither|nor|cannot|rather than|instead of|unlike|"
    r"other than|except(?: for)?|as opposed to|versus|"
    r"doubt|hardly|rules? out|ruled out|ruling out|eliminat(?:e|es|ed|ing)|exclud(?:e|es|ed|ing)|rejects?|"
    r"discard(?:s|ed|ing)?|"
    r"no longer|(?:incorrect|wrong) (?:answers?|options?|choices?)|"
    r"nicht|kein(?:e|en)?|pas|no (?:es|son)|non è|não é|isnt|wasnt)\b|"
    rf"不是|不选|(?<!{SIGN} )(?<!{SIGN})[❌✗✘]"
)
_NO = re.compile(r"\bno\b(?!\s*(?:[,.;:!—–-]|wait\b|$))")
_STRONG = re.compile(
    r"[.;:!?()\n→⇒—–]|\s-+\s|->|=>|\b(?:but|however|yet|so|therefore|thus|hence|although|though|still|leaves|"
    r"leaving|remaining|remains|sino|sondern|mais)\b|而是|✅|✔|✓"
)
_JOINS = re.compile(
    r",\s*(?:it|its|it's|the|this|that|that's|i|i'd|i'll|so|instead|rather|because|since|as|which|then|"
    r"therefore|thus|hence|making|"
    r"c'est|ce sont|il est|elle est|es ist|es|son|è|é|ma|mas|"
    r"leaving|actually|and it|and the|just|only|my|we|there|probably|most|definitely|answer|option|more)\b|"
    r",\s*(?:是|应|應|选|我选|答案|所以|因此|正确)"
)
_COMMA = re.compile(",")
_NEW_CLAUSE = "not|because|since|as|for|and|but|given|due|which|it|that|so|while|where|when|who|if|or|the|there"
_AFTER = re.compile(
    rf"({SIGN})\)?(?:\s+(?!(?:{_NEW_CLAUSE})\b)[^\W\d_]+){{0,2}}?\s+(?:(?:is|are|was|does|do|did|can|could|would|seems?|looks|must|has|should|will)"
    r"(?:\s+(?:be|also|clearly|definitely|likely|probably|certainly|therefore|thus|just|a|the|simply|obviously|"
    r"then|been)){0,2}"
    r"\s+(?:not\b(?! only)|wrong|incorrect|false|ruled out|eliminated|excluded|unlikely|impossible|out\b|no\b|"
    r"a distractor|distractor)"
    r"|cannot\b|ruled out|eliminated|excluded|doesnt|isnt)"
)
_LABELLED_WRONG = re.compile(
    rf"({SIGN})\s*\)?\s*[:(,=—–-]{{0,2}}\s*"
    r"(?:(?:wrong|incorrect|false|no|nope)\b\s*[).]?\s*(?=$|[\n,;.])|[❌✗✘])",
    re.M,
)
_SENTENCE_END = re.compile(r"[.!?\n]")
_ASKED = r"\b(?:is|are|was|were) (?:it|this|that|they|these|those|the (?:correct |right )?answer)\s+"
_ITSELF = re.compile(
    rf"{_ASKED}(?:(?:an?|the|option|choice|letter)\s+|\()*({SIGN})\)?\s*(\?)\s*(?:[—–-]\s*)?"
    r"(?:(?P<yes>yes|yeah|yep|correct)|no|nope)\b(?=\s*(?:$|[.!\n]))"
)
"""A question that a reply answers itself: "Is it B? No. Is it C? Yes."."""
_ASKS = re.compile(
    r"\W*(?:(?:so|and|but|then|well|hmm|now),?\s+)?(?:is|are|was|were|does|do|did|can|could|what|which|where|why|how|who|should|would|will|or|question)\b"
)


def scoped(text: str) -> str:
    """The marked text with its denied and supposed mentions marked so; the same length."""
    text = _GUESSING.sub(lambda found: " " * len(found[0]), text)
    text = _AFTER.sub(lambda found: _changed(found[1], DENIED) + found[0][1:], text)
    text = _LABELLED_WRONG.sub(lambda found: _changed(found[1], DENIED) + found[0][1:], text)
    text = _ITSELF.sub(_answered, text)
    signs = list(text)
    for start, end in _asked(text):
        _change(signs, start, end, SUPPOSED)
    hedges = [(found.start(), found.end()) for found in _HEDGE.finditer(text)]
    for _, end in hedges:
        _change(signs, end, _until(text, end, _STRONG, _COMMA), SUPPOSED)
    for found in _CONTRARY.finditer(text):
        _change(signs, found.start(), _until(text, found.end(), _STRONG), SUPPOSED)
    for found in _AT_FIRST.finditer(text):
        _change(signs, found.start(), found.start() + 1, SUPPOSED)
    inside = {place for start, end in hedges for place in range(start, end)}
    for pattern in (_DENIAL, _NO):
        for found in pattern.finditer(text):
            if found.start() not in inside:
                _change(signs, found.end(), _until(text, found.end(), _STRONG, _JOINS), DENIED)
    return "".join(signs)


def _answered(found: re.Match[str]) -> str:
    """What a reply answers itself with yes, as a statement; with no, denied."""
    sign, mark = found.start(1) - found.start(), found.start(2) - found.start()
    if found["yes"]:
        return found[0][:mark] + "." + found[0][mark + 1 :]
    return found[0][:sign] + _changed(found[1], DENIED) + found[0][sign + 1 :]


def _asked(text: str) -> Iterator[tuple[int, int]]:
    """Sentences that ask."""
    start = 0
    for end in _SENTENCE_END.finditer(text):
        if end[0] == "?" and _ASKS.match(text, start, end.end()):
            yield start, end.end()
        start = end.end()


def _until(text: str, start: int, *bounds: re.Pattern[str]) -> int:
    """Where the first of the bounds after `start` stands, at most 200 characters on."""
    end = min(len(text), start + 200)
    for bound in bounds:
        found = bound.search(text, start, end)
        end = found.start() if found else end
    return end


def _change(signs: list[str], start: int, end: int, kind: int) -> None:
    for place in range(start, end):
        if "\ue000" <= signs[place] <= "\ue5ff":
            signs[place] = _changed(signs[place], kind)


def _changed(sign: str, kind: int) -> str:
    """The same mention, denied or supposed; one that may be two is supposed, for neither is known to be denied."""
    code = ord(sign)
    if code & 0xFF00 == MIXED:
        return chr(SUPPOSED + 0xFF)
    return sign if code >= DENIED else chr(kind + (code & 0xFF))
