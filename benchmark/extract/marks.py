"""A reply in which every mention of a choice is one sign: what the rules read.

Signs are of the private use area, and a reply's own signs of that area are removed before. A letter is a mention
where it stands alone and is no article, a choice's words where they stand as words; of overlapping choices ("blue",
"light blue") the longest counts.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from benchmark.extract.clean import plain
from benchmark.extract.forms import opposites, other_number, together, word_pattern
from benchmark.extract.words import ARTICLES, NO, NUMBERS, ORDINALS, YES, bare, number_of, spelled
from slvr_data.colors import COLORS

MOST_CHOICES = 26
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
UNSEEN = ["cannot", "be", "seen"]
"""The further choice of the evidence transforms: "not visible" says the same."""
OUTSIDE = 255
"""What a letter names that no choice has."""
LETTER, TEXT, PAIR, MIXED, DENIED, SUPPOSED = (0xE000 + 0x100 * n for n in range(6))
"""First signs of: a letter, a choice's words, both together, what may be two choices, what is denied, what is only
supposed or asked."""
LETTER_SIGN = "[\ue000-\ue0ff\ue200-\ue3ff]"
PAIR_SIGN = "[\ue200-\ue2ff]"
TEXT_SIGN = "[\ue100-\ue1ff]"
SIGN = "[\ue000-\ue3ff]"
"""A mention that is neither denied nor supposed."""
ANY_SIGN = "[\ue000-\ue5ff]"

_EDGE, _END = r"(?<![0-9A-Za-z\u00c0-\u024f_])", r"(?![0-9A-Za-z\u00c0-\u024f_])"
_LONE = re.compile(
    r"(?<![0-9A-Za-z\u00c0-\u024f_'&+@#\u2022])([A-Za-z])(?![0-9A-Za-z\u00c0-\u024f_&+@]|'[A-Za-z]|#(?!\s))"
)
_NAMED = re.compile(r"(?:\b(?:option|choice|letter|answer)\s*(?:is|[:=])?\s*|[(\[{<]\s*|(?:\bis|[:=→])\s*)$", re.I)
_NAMED_A = re.compile(r"(?:\b(?:option|choice|letter)\s*|[(\[{<]\s*|(?:\banswer|\bis|[:=→])\s*[:=]?\s*)$", re.I)
_CLOSED = re.compile(r"\s*(?:$|[\n.,;:!?)\]}>—–]|-+\s)")
_BRACKETED = re.compile(r"\s*[)\]}>]")
_AFTER_A = re.compile(
    r"\s*(?:$|[^\w\s\ue100-\ue1ff]|\n|[\u3000-\u9fff\uac00-\ud7af])|\s+(?:because|since|as|is|was|and|or|which|"
    r"due|given|for|best|matches|would|"
    r"seems|looks|fits|then|but|not|with|based|appears|shows|instead|here|should|must|may|might|could|describes|"
    r"corresponds|it is|from|rather|over|to|in|i|has|makes|agrees|works|option|choice|final|please|thanks|definitely|"
    r"probably|cannot|does|can|also|so|obviously|clearly|by|if|where|when|while|we|you|isn)\b|\s+[B-Z](?![\w'])",
    re.I,
)
_BETWEEN = r"[\s.:,;)\](\[{}><=—–-]"
_NO_DETERMINER = (
    r"(?:(?<![A-Za-z] )NO(?!\s+one\b)|NO(?!\s+(?!(?:because|since|as|there|it|the|this|that|for|and|but|or|he|she|they|"
    r"i|we|you|not|so|given|due|is|are|a|an|in|on|of|to|answer|choice|option)\b)[a-z]))"
)
"""Where "no" is an answer, and not a part of "there is no dog" or "no one"."""
_AFTER_NUMBER = r"(?![.,:/]?\d)(?!\s?[-–~]\s?\d)(?!\s*%)"


@dataclass(frozen=True)
class Choices:
    """What is looked for in replies to one question."""

    texts: tuple[str, ...]
    lettered: bool
    pattern: re.Pattern[str] | None
    """Finds the words of choices; the name of the group that matched tells which."""
    groups: tuple[frozenset[int], ...]
    """Of each named group: the choices that have these words (two, where they differ in case only)."""
    single: dict[str, frozenset[int]]
    """Choices whose whole text is one letter, by it."""
    bares: tuple[str, ...]
    """Each choice as it is compared whole (`words.bare`)."""
    numeric: bool
    """Some choice is a number: "option 2" could be either."""


@lru_cache(4096)
def choices_of(texts: tuple[str, ...], lettered: bool = True) -> Choices:
    """Prepare choices.

    Raises:
        ValueError: there are more than 26.
    """
    if len(texts) > MOST_CHOICES:
        raise ValueError(f"{len(texts)} choices, and at most {MOST_CHOICES} can have letters")
    single: dict[str, frozenset[int]] = {}
    words: dict[str, frozenset[int]] = {}
    for index, text in enumerate(texts):
        tokens = choice_words(text)
        if not tokens:
            continue
        if lettered and len(tokens) == 1 and len(tokens[0]) == 1 and tokens[0].isascii() and tokens[0].isalpha():
            key = tokens[0].upper()
            single[key] = single.get(key, frozenset()) | {index}
            continue
        found = _pattern(tokens)
        words[found] = words.get(found, frozenset()) | {index}
    words = _with_forms(texts, words)
    ordered = sorted(words, key=lambda found: -max(len(" ".join(choice_words(texts[i]))) for i in words[found]))
    named = "|".join(f"(?P<g{n}>{found})" for n, found in enumerate(ordered))
    numeric = any(number_of(text) is not None for text in texts)
    return Choices(
        texts, lettered, re.compile(named, re.I) if named else None, tuple(words[found] for found in ordered), single,
        tuple(bare(plain(text)) for text in texts), numeric,
    )  # fmt: skip


def _with_forms(texts: tuple[str, ...], words: dict[str, frozenset[int]]) -> dict[str, frozenset[int]]:
    """Patterns that find other forms of a choice's words too, where these are in no other choice."""
    tokens = [[word.lower() for word in choice_words(text)] for text in texts]
    counts = Counter(word for found in tokens for word in set(found))
    joined = {"".join(found) for found in tokens}
    opposite = opposites(texts)
    colored = sum(any(word in COLORS for word in found) for found in tokens) > 1
    put: dict[str, frozenset[int]] = {}
    for pattern, meant in words.items():
        found = tokens[next(iter(meant))] if len(meant) == 1 else []
        more = [opposite[found[0]]] if len(found) == 1 and found[0] in opposite else []
        other = None if colored else other_number(found)
        if other and other[-1] not in counts and counts[found[-1]] == 1:
            more.append(_pattern(other))
        one = together(found)
        if one and one not in joined - {"".join(found)}:
            more.append(_pattern([one]))
        put["|".join([pattern, *more])] = meant
    return put


def choice_words(text: str) -> list[str]:
    """A choice's words as they are looked for: in one spelling, without article and marks around."""
    words = spelled(plain(text)).strip(" \t\r\n.,;:!?'").split()
    while len(words) > 1 and words[0].lower() in ARTICLES:
        words = words[1:]
    for place in range(len(words) - 2, -1, -1):
        if (pair := " ".join(words[place : place + 2]).lower()) in NUMBERS:
            words[place : place + 2] = [pair]
    return words


def _pattern(words: Sequence[str]) -> str:
    if len(words) == 1 and words[0].lower() in YES | NO:
        meant = YES if words[0].lower() in YES else NO
        word = f"(?:{'|'.join(sorted(meant))}){_END}"
        return f"{_EDGE}{word}" if meant is YES else _EDGE + _NO_DETERMINER.replace("NO", word)
    said = [word for place, word in enumerate(words) if word not in ARTICLES or place == len(words) - 1]
    parts = [word_pattern(word) for word in said]
    first, last = words[0][0], words[-1][-1]
    before = _EDGE if first.isascii() and first.isalnum() else ""
    after = _END if last.isascii() and last.isalnum() else ""
    if first.isdigit() or words[0].lower() in NUMBERS:
        before += r"(?<!√)(?<!\d[.,:/])(?<![-–~])(?<!\d\s[-–~]\s)"
    if last.isdigit() or words[-1].lower() in NUMBERS:
        after += _AFTER_NUMBER
    if [word.lower() for word in words] in (UNSEEN, ["it", *UNSEEN]):
        return rf"(?:{before}(?:it\s+)?cannot\s+be\s+seen{after}|\bnot\s+visible\b)"
    return before + r"\s+(?:(?:the|a|an|some)\s+)?".join(parts) + after


class Marked:
    """A reply's plain text in one spelling and lower case, its mentions replaced by signs."""

    def __init__(self, text: str, choices: Choices) -> None:
        """`text`: as `clean.plain` and `words.spelled` leave it."""
        self.choices = choices
        self._mixed: list[frozenset[int]] = []
        text = _NOT_A_SIDE.sub(lambda found: _RIGHT.sub("correct", found[0]), text)
        text = _LEFT_BEHIND.sub("remaining", text)
        text = _UNDECIDED.sub(self._undecided, self._with_texts(text))
        if choices.lettered:
            text = self._with_letters(text)
            text = self._with_ordinals(text)
        self.text = self._paired(text.lower())

    def meaning(self, sign: str) -> frozenset[int]:
        """The choices that a sign may mean; `OUTSIDE` for a letter that no choice has."""
        kind, value = ord(sign) & 0xFF00, ord(sign) & 0xFF
        return self._mixed[value] if kind == MIXED else frozenset([value])

    def sign(self, kind: int, meant: frozenset[int]) -> str:
        """The sign of a mention: of `kind` where one thing is meant, of `MIXED` where more may be."""
        if len(meant) == 1:
            return chr(kind + next(iter(meant)))
        if meant not in self._mixed:
            self._mixed.append(meant)
        return chr(MIXED + min(self._mixed.index(meant), 0xFF))

    def _with_texts(self, text: str) -> str:
        pattern = self.choices.pattern
        if pattern is None:
            return text

        def put(found: re.Match[str]) -> str:
            if found[0].lower() == "one" and not _COUNTED_ONE.search(text, max(0, found.start() - 40), found.start()):
                return found[0]
            assert found.lastgroup is not None
            meant = self.choices.groups[int(found.lastgroup[1:])]
            number = number_of(found[0]) if self.choices.lettered and self.choices.numeric else None
            if number and _OPTION.search(text, max(0, found.start() - 20), found.start()):
                meant |= {int(number) - 1} & set(range(len(self.choices.texts)))
            return self.sign(TEXT, meant)

        return pattern.sub(put, text)

    def _undecided(self, found: re.Match[str]) -> str:
        """A choice's words that are part of something else, or one of two things that are offered."""
        sign = _ONE_TEXT.search(found[0])
        assert sign is not None
        mixed = self.sign(MIXED, self.meaning(sign[0]) | {OUTSIDE})
        return found[0][: sign.start()] + mixed + found[0][sign.end() :]

    def _with_letters(self, text: str) -> str:
        def put(found: re.Match[str]) -> str:
            return self._letter(text, found) or found[0]

        return _LONE.sub(put, text)

    def _letter(self, text: str, found: re.Match[str]) -> str | None:
        """The sign of a lone letter; None where it is a word or an initial."""
        letter, start, end = found[1], found.start(), found.end()
        before, after = text[max(0, start - 24) : start], text[end : end + 24]
        if (start and text[start - 1] == "." and start > 1 and text[start - 2].isalpha()) or re.match(r"\.\w", after):
            return None
        if not self._stands(letter, before, after):
            return None
        place = LETTERS.index(letter.upper())
        meant = frozenset([place]) if place < len(self.choices.texts) else frozenset()
        named = _EXPLICIT.search(before) and (not _OPENED.search(before) or _BRACKETED.match(after))
        behind = _OWN_LETTER.match(after)
        if meant and behind and place in self.choices.single.get(behind[1].upper(), ()):
            return self.sign(LETTER, meant)
        paired = meant and after.lstrip(" .:,)-—–\n")[:1] == chr(TEXT + place)
        if not (meant and (named or paired)):
            meant |= self.choices.single.get(letter.upper(), frozenset())
        return self.sign(LETTER, meant or frozenset([OUTSIDE]))

    def _stands(self, letter: str, before: str, after: str) -> bool:
        """Whether a lone letter is a letter and not a word."""
        opened = _OPENED.search(before) is not None and _BRACKETED.match(after) is not None
        starts = not before.strip() or before.rstrip(" \t").endswith("\n")
        if letter == "A":
            return opened or _AFTER_A.match(after) is not None
        if letter in "IO" and not opened:
            return bool(LETTERS.index(letter) < len(self.choices.texts) and _CLOSED.match(after))
        known = LETTERS.index(letter.upper()) < len(self.choices.texts)
        if letter.isupper() or (letter in "bcdfgh" and known):
            return True
        if opened or (starts and re.match(r"\s*[).:]|\s*$", after)):
            return True
        if letter == "a":
            return _NAMED_A.search(before) is not None and _CLOSED.match(after) is not None
        return known and (_NAMED.search(before) is not None or _CLOSED.match(after) is not None)

    def _with_ordinals(self, text: str) -> str:
        number = len(self.choices.texts)

        def named(found: re.Match[str]) -> str:
            place = ORDINALS[found[1].lower()]
            place = number - 1 if place < 0 else place
            return self.sign(LETTER, frozenset([place if place < number else OUTSIDE]))

        text = _ORDINAL.sub(named, text)
        if self.choices.numeric:
            return text

        def numbered(found: re.Match[str]) -> str:
            word = found[2].lower()
            place = (NUMBERS.index(word) if word in NUMBERS else int(word)) - 1
            return found[1] + self.sign(LETTER, frozenset([place if 0 <= place < number else OUTSIDE]))

        return _NUMBERED.sub(numbered, text)

    def _paired(self, text: str) -> str:
        """A letter with its own words is one mention; with those of another choice it may be either."""

        def put(found: re.Match[str]) -> str:
            first, second = self.meaning(found[1]), self.meaning(found[2])
            if first & second:
                return self.sign(PAIR, first & second)
            return self.sign(MIXED, first | second)

        def back(found: re.Match[str]) -> str:
            first, second = self.meaning(found[1]), self.meaning(found[2])
            if first & second:
                return self.sign(PAIR, first & second)
            return self.sign(MIXED, first | second) if found[0].rstrip()[-1:] in ")]" else found[0]

        text = _LETTER_THEN_TEXT.sub(put, text)
        return _TEXT_THEN_LETTER.sub(back, text)


_NOT_A_SIDE = re.compile(
    r"\bright(?=\s+(?:answer|choice|option|one|letter|response|above|below|behind|beside|next|under|in front|"
    r"on top|here|there|now)\b)|(?<=that is )right\b|(?<=that's )right\b|"
    r"\b(?:[A-Z]|option [a-z]) is (?:the )?right(?=\W*$|\s+(?:because|as|since|here)\b)|\ball right\b|"
    r"\bright\s*\?\s*$",
    re.I | re.M,
)
"""Where "right" is no side."""
_RIGHT = re.compile("right", re.I)
_LEFT_BEHIND = re.compile(
    r"\bleft(?= with\b)|(?<=\bi )left\b|(?<=\bhas )left\b|(?<=\bhave )left\b|(?<=\bhad )left\b|"
    r"\bleft(?=\s+(?:it|him|her|them|us|me|my|out|over|behind)\b)",
    re.I,
)
_ONE_TEXT = re.compile("[\ue100-\ue1ff]")
_COLOR = (
    "red|blue|green|yellow|orange|purple|pink|brown|black|white|gray|teal|cyan|magenta|violet|beige|tan|gold|silver"
)
_UNDECIDED = re.compile(
    rf"(?:\b(?:[a-z]+ish|{_COLOR})\s+)[\ue100-\ue1ff]|[\ue100-\ue1ff](?:\s+(?:ish|{_COLOR})\b)|"
    r"[\ue100-\ue1ff](?=\s*,?\s+or\s+(?![\ue100-\ue1ff])(?:(?:maybe|possibly|perhaps|a|an|the|probably|even|"
    r"is it)\s+)*[a-z])|"
    r"[\ue100-\ue1ff](?=/[a-z])|[a-z]\s*,?\s+or\s+(?:(?:maybe|possibly|perhaps|a|an|the|probably|"
    r"even)\s+)*[\ue100-\ue1ff]|[a-z]/[\ue100-\ue1ff]",
    re.I,
)
_COUNTED_ONE = re.compile(
    r"(?:^|[\n.:(]|\b(?:is|are|only|just|exactly|see|answer|shows?|contains?|has|have|count))\W*$", re.I
)
_EXPLICIT = re.compile(r"(?:\b(?:option|choice|letter)\s*:?\s*|[(\[{<]\s*)$", re.I)
_OPTION = re.compile(r"\b(?:option|choice)\s*(?:number|no\.?|#)?\s*:?\s*$", re.I)
_OPENED = re.compile(r"[(\[{<]\s*$")
_OWN_LETTER = re.compile(r"\s*[.):,–—-]\s*([A-Za-z])(?![\w'])")
_ORDINAL = re.compile(rf"\b(?:the\s+)?({'|'.join(ORDINALS)})\s+(?:option|choice|answer)\b", re.I)
_NUMBERED = re.compile(
    rf"(\b(?:option|choice)\s*(?:number|no\.?|#)?\s*:?\s*)(\d{{1,2}}|{'|'.join(NUMBERS[1:9])})(?![.,]?\d|\w)", re.I
)
_LETTER_THEN_TEXT = re.compile(rf"([\ue000-\ue0ff]){_BETWEEN}{{0,6}}(?:(?:the|a|an)\s+)?([\ue100-\ue1ff])(?:\s*[)\]])?")
_TEXT_THEN_LETTER = re.compile(
    r"([\ue100-\ue1ff])\s{0,2}[(\[,—–-]?\s{0,2}(?:option |choice )?([\ue000-\ue0ff])\s?[)\]]?"
)
