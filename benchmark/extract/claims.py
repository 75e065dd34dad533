"""What a marked reply claims: the places where it names its answer, each with the choices that it may name there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from benchmark.extract.marks import ANY_SIGN, LETTER_SIGN, PAIR_SIGN, SIGN, TEXT_SIGN, Marked
from benchmark.extract.words import FILLERS


@dataclass(frozen=True)
class Claim:
    """One place that names an answer."""

    meant: frozenset[int]
    """The choices that may be named; several where it names several, or could mean either."""
    place: int
    """Where in the marked text."""
    rule: str
    weak: bool = False
    """It only says that something could be the answer: it stands unless something firm is said later."""


_FILL = (
    r"(?:[\s:(\[{,=\"'–—>-]|\b(?:the|a|an|option|choice|letter|answer|clearly|definitely|probably|most|likely|"
    r"therefore|thus|then|indeed|simply|just|actually|number|be|given by|as follows|certainly|also|that|it is|"
    r"either|to be|"
    r"opci[oó]n|opzione|opção|letra|lettre|l'option|buchstabe|"
    r"option is|choice is|obviously|maybe|perhaps|still|now|la|le|el|il|die|der|das)\b){0,8}?"
)
_JOIN = r"(?:(?: ?,)? ?(?:\b(?:and/or|and|or|und|oder|et|ou|y|o|maybe|possibly)\b|[/&+|]|或|和|または) ?)"
_COMMA = " ?, ?"
_MORE = r"(?:(?:either|the|option|choice|answer|possibly|maybe|perhaps|also) )*(?:[(\[] ?)?"
_LIST_END = r"(?=[)\]]?\s*(?:$|[.,;:!?\n/&+|)\]]|and\b|or\b|because\b|since\b))"


def _listed(sign: str) -> str:
    """A mention, or several that are joined."""
    more = rf"(?:{_COMMA}{_MORE}{SIGN}{_LIST_END}|{_JOIN}{_MORE}{SIGN})"
    return rf"({sign}[)\]]?(?:{more}[)\]]?){{0,8}})"


_NOUN_BEGINS = (
    r"(?:(?<!\w)|(?<=所以)|(?<=因此)|(?<=故)|(?<=那么)|(?<=最终)|(?<=本题)|(?<=题的)|(?<=我的)|"
    r"(?<=最终的)|(?<=则)|(?<=认为)|(?<=觉得))"
)
_NOUN = (
    r"(?:answers?|asnwer|anwser|awnser|asnwr|choice|option|selection|selected option|response|pick|guess|"
    r"conclusion|result|solution|"
    r"verdict|ans|prediction|output|assistant|label|letter|"
    r"match|correct one|right one|best one|vote|bet|decision|antwort|(?:bonne )?r[eé]ponse|"
    r"respuesta(?: correcta)?|risposta(?: corretta)?|resposta(?: correta)?|ответ|"
    r"opci[oó]n(?: correcta)?|答案|答え|正解|回答|정답|답|选项|正确选项|正确的?(?:选项|答案)|正確的?(?:選項|答案))"
)
_COPULA = (
    r"(?:\b(?:is|was|are|would be|will be|should be|must be|has to be|would have to be|seems to be|appears to be|"
    r"remains|becomes|ist|est|es|é|è|ser[ií]a|would|то|это)\b|'s\b|[:=]|-+>?|=>|→|⇒|–|—|是|为|為|應該是|应该是|应为|は|은|는|が)"
)
_ASIDE = (
    r"(?:\s+(?:here|choice|option|letter|to (?:the|this|that|your) question|for (?:the|this) question|to this|to it|"
    r"that (?:best )?(?:matches|fits)(?: the (?:picture|image))?|based on the (?:image|picture|photo)|"
    r"from (?:the|these|those) (?:list|options|choices)|in (?:this|the) (?:case|image|picture)|\(final\)|"
    r"i (?:choose|select|pick)|"
    r"i would (?:choose|pick|select|give)|among (?:the|these) (?:options|choices))){0,2}"
)
_CHOSEN = (
    r"(?:choose|chose|choosing|pick|picked|picking|select|selected|selecting|go with|going with|went with|"
    r"go for|going for|vote for|"
    r"opt for|opted for|settle on|settled on|settling on|conclude|bet on|lean(?:ing)? towards?|answer with|"
    r"prefer|stick with|sticking with|"
    r"chosen|i(?: would|'d| will|'ll)? (?:say|answer|guess)|i (?:guess|say|believe|think)|wähle|choisis|elijo|"
    r"elige|scelgo|"
    r"选择|选|選|故选|应选|выбираю)"
)
_FITTING = r"(?:\w+ly\s+|best\s+|most\s+|also\s+){0,2}"
_FITS = (
    r"(?:matches|fits|describes|corresponds|aligns|makes sense|makes the most sense|works|applies|it is|wins|agrees)"
)
_GOOD = (
    r"(?:is|are|was|would be|seems|seems to be|looks|must be|should be|appears|appears to be|has to be|will be)\s+"
    r"(?:(?:the|my|a|our|clearly|definitely|probably|therefore|thus|most|more|only|single|final|obviously|"
    r"certainly|likely|also|both|equally|just as|as|all)\s+){0,4}"
)
_APPROVED = (
    rf"{_GOOD}(?:(?:correct|right|best|answer|choice|option|appropriate|accurate|match|fit|fitting|suitable|"
    r"one|pick|selection|true)\b(?!\s+(?:too|as well)\b)|"
    r"(?:(?<=most )|(?<=more )|(?<=only )|(?<=single ))(?:plausible|valid|possible|likely)\b)"
)
_POSSIBLE = (
    rf"{_GOOD}(?:plausible|valid|possible|likely|(?:correct|right|suitable|accurate|appropriate|true|fit|fitting)"
    r"(?=\s+(?:too|as well)\b))\b"
)
"""Says of a choice that it could be the answer, and not that it is."""
_LEADS = (
    r"(?:matches?|fits?|describes?|correspond(?:s|ing)? (?:to|with)|points? (?:to|at)|leads? (?:to|me to|us to)|"
    r"leaving(?: only| us with)?|"
    r"leaves(?: only| us with| me with)?|remaining with|consistent with|aligns? with|agrees? with|supports|"
    r"indicates|suggests|"
    r"narrows? (?:it )?down to|narrowed (?:it )?down to|makes? it|making it|which is|that is|that's|this is|"
    r"it is|it's|it must be|it should be|"
    r"it has to be|it would be|must be|should be|has to be|thus|therefore|hence|so|→|⇒|=>|->|>|i\.e\.|namely|"
    r"as in|:|—|–|所以|因此|故|"
    r"而是|而应是|而應是|(?<=,)是|\bsino|\bsondern|\bmais|(?<=, )(?:c'est|es ist|es|è|é)|"
    r"the (?:one|thing) is|what (?:fits|matches) is)"
)
_REFINES = (
    r"\b(?:more (?:precisely|exactly|specifically|accurately)|to be (?:more )?(?:precise|exact|specific|accurate))\b"
)
_RULES: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (name, re.compile(pattern, re.M))
    for name, pattern in (
        ("named", rf"{_NOUN_BEGINS}{_NOUN}{_ASIDE}[\s\"']*[)\]]?\s*{_COPULA}{_FILL}{_listed(SIGN)}"),
        ("chosen", rf"(?<![a-z]){_CHOSEN}{_FILL}{_listed(SIGN)}"),
        ("approved", rf"{_listed(SIGN)}\s*(?:[(\[]\s*{SIGN}\s*[)\]]\s*)?{_APPROVED}"),
        ("possible", rf"{_listed(SIGN)}\s*(?:[(\[]\s*{SIGN}\s*[)\]]\s*)?{_POSSIBLE}"),
        ("refined", rf"{_REFINES}[\s,:]*{_FILL}{_listed(SIGN)}{_LIST_END}"),
        ("fitting", rf"(?:option|choice|answer)\s*[(\[]?({LETTER_SIGN})[)\]]?\s+{_FITTING}{_FITS}\b"),
        ("concluded", rf"(?<![a-z]){_LEADS}{_FILL}{_listed(LETTER_SIGN)}(?=[\s.!。)\]]*(?:$|\n|[.!]\s))"),
        ("bracketed", rf"[(\[]\s*({LETTER_SIGN})\s*[)\]][\s.!]*\Z"),
        ("judged", rf"({LETTER_SIGN})\s*[)\].:]?\s*[:(–—-]?\s*(?:correct|right|yes|true|✅|✔|✓)(?=\s*(?:$|[\n.,;)!]))"),
        ("preferred", rf"^\W*({LETTER_SIGN})\s+(?:rather than|instead of|over|and not|not)\b"),
        ("last", rf"[:：]\s*[(\[]?({LETTER_SIGN})[)\].!\s]*\Z"),
        ("possible", rf"{_listed(LETTER_SIGN)}\s*(?:could|might|may)\s+(?:also\s+|well\s+)?be\b"),
        ("possible", rf"(?:could|might|may)\s+(?:also\s+|well\s+|possibly\s+)?be{_FILL}{_listed(LETTER_SIGN)}"),
        ("told as", rf"({LETTER_SIGN})[^\S\n]+it\s+is\b"),
    )
)  # fmt: skip
_INITIAL = re.compile(
    rf"^[\s(\[{{<\"']*({LETTER_SIGN})\s*[)\]}}>]*(?:[ \t]*([.,:;)—–-])|\s+(?:because|since|as|due|given)\b|[ \t]*$)",
    re.M,
)
_LABELLED = re.compile(rf"^[ \t(\[{{<]*({ANY_SIGN})[ \t]*[)\]}}>.:][ \t]*(?=\S)", re.M)
_SENTENCE_END = re.compile(r"[.!?;\n。！？；]")
_CLAUSE_END = re.compile(
    r"[.!?;\n。！？；]|\b(?:but|however|though|wait|actually|i mean|scratch that|or rather|make that)\b|"
    r"\bno\b\s*[,—–-]|[✅✔✓]"
)
_DESCRIBED = re.compile(rf"{LETTER_SIGN}[)\]]?\s+(?:is|was|are|shows?|says|has|would be)\s[^,]*{TEXT_SIGN}")
_DOUBT = re.compile(r"\b(?:perhaps|maybe|possibly)\b[^.,;:!?\n]{0,30}\Z")
_WORDS = re.compile(r"[^\W\d_](?:[\w']*\w)?|\d+")
_LETTERS = re.compile(LETTER_SIGN)
_SIGNS = re.compile(SIGN)
_ANY = re.compile(ANY_SIGN)
_PAIR = re.compile(PAIR_SIGN)
_COLON = re.compile(rf"({LETTER_SIGN})\s?[:=]")
_PAIR_FIRST = re.compile(rf"^[\s(\[{{<]*({PAIR_SIGN})")


def claims(marked: Marked, text: str) -> list[Claim]:
    """All claims of `text`, the marked text with its scopes (`scopes.scoped`)."""
    if not _SIGNS.search(text):
        return []
    found = [*_by_rules(marked, text), *_alone(marked, text), *_initial(marked, text)]
    return sorted(found, key=lambda claim: claim.place)


def _by_rules(marked: Marked, text: str) -> Iterator[Claim]:
    lettered = _LETTERS.search(text) is not None
    for name, pattern in _RULES if lettered else _RULES[:5]:
        for found in pattern.finditer(text):
            signs = found[1]
            weak = name == "possible" or _doubted(text, found.start(1))
            yield Claim(_meant(marked, signs), found.start(1), name, weak)


def _doubted(text: str, place: int) -> bool:
    return _DOUBT.search(text, max(0, place - 40), place) is not None


def _alone(marked: Marked, text: str) -> Iterator[Claim]:
    """Sentences that hold nothing but letters and words that say nothing else."""
    listed = labelled(text)
    for start, words in _between(_CLAUSE_END, text):
        if len(words) > 400 or not _LETTERS.search(words) or any(word not in FILLERS for word in _WORDS.findall(words)):
            continue
        place = start + _first(words)
        if (len(listed) > 1 and place in listed) or _DESCRIBED.search(words):
            continue
        if len(_ANY.findall(words)) == len(_SIGNS.findall(words)):
            yield Claim(_meant(marked, words), place, "alone")


def _initial(marked: Marked, text: str) -> Iterator[Claim]:
    """A letter at the beginning of the reply, with a mark behind it: "C. because ..."."""
    listed = labelled(text)
    if len({text[place] for place in listed}) > 1:
        return
    if len(set(_COLON.findall(text.partition("\n")[0]))) > 1:
        return
    first = _INITIAL.match(text)
    if first is None and (paired := _PAIR_FIRST.match(text)):
        yield Claim(_meant(marked, paired[1]), paired.start(1), "initial")
    if first:
        follows = text[first.end() :].lstrip(" \t(")[:1]
        several = first[2] == "," and follows and _ANY.match(follows)
        if not several:
            yield Claim(_meant(marked, first[1]), first.start(1), "initial")


def behind_initial(text: str) -> tuple[str, str] | None:
    """(The letter at the beginning of the reply, the words behind it); None where no letter begins it."""
    first = _INITIAL.match(text)
    return (first[1], text[first.end() :]) if first else None


def labelled(text: str) -> list[int]:
    """Places of letters that begin a line as its label."""
    found = [match.start(1) for match in _LABELLED.finditer(text)]
    pairs = [match.start() for match in _PAIR.finditer(text)]
    return sorted({*found, *pairs}) if len({text[place] for place in pairs}) > 1 else found


def sentences(text: str) -> list[str]:
    """Sentences without their ends."""
    return [words for _, words in _between(_SENTENCE_END, text)]


def _between(ends: re.Pattern[str], text: str) -> Iterator[tuple[int, str]]:
    """(Place, words) of what stands between ends, where it is more than space."""
    start = 0
    for end in ends.finditer(text):
        if text[start : end.start()].strip():
            yield start, text[start : end.start()]
        start = end.end()
    if text[start:].strip():
        yield start, text[start:]


def _first(words: str) -> int:
    found = _SIGNS.search(words)
    return found.start() if found else 0


def _meant(marked: Marked, signs: str) -> frozenset[int]:
    return frozenset().union(*(marked.meaning(sign) for sign in _SIGNS.findall(signs)))
