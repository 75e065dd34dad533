"""Words in one spelling, numbers in one form, and the lists of words that the rules know."""

from __future__ import annotations

import re

_NUMBER_WORDS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen"
)
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_UNITS_WORDS = _NUMBER_WORDS.split()[1:10]
NUMBERS = (*_NUMBER_WORDS.split(), *(ten + one for ten in _TENS for one in ("", *(f" {u}" for u in _UNITS_WORDS))))
"""Number words up to ninety-nine, each at the place of its value; no hyphens, as `spelled` leaves them."""
NUMBER_WORDS = "|".join(word.replace(" ", r"[\s-]") for word in sorted(NUMBERS, key=len, reverse=True))
"""Matches any of them, the longest first."""
_MORE_BEFORE = "".join(rf"(?<!{ten}[\s-])" for ten in _TENS)
_MORE_BEHIND = r"(?!\s?-?(?:hundred|thousand|million|billion|dozen)\b)"
CHINESE = {"零": 0, "一": 1, "二": 2, "两": 2, "三": 3, "四": 4, "五": 5, "六": 6, "七": 7, "八": 8, "九": 9, "十": 10}
ORDINALS = {
    "first": 0, "1st": 0, "second": 1, "2nd": 1, "third": 2, "3rd": 2, "fourth": 3, "4th": 3, "fifth": 4, "5th": 4,
    "sixth": 5, "6th": 5, "seventh": 6, "7th": 6, "eighth": 7, "8th": 7, "last": -1,
}  # fmt: skip
"""Ordinal -> place, -1 for the last."""
YES = frozenset(["yes", "yeah", "yep", "yup"])
NO = frozenset(["no", "nope", "nah"])
ABROAD_YES = frozenset(["ja", "oui", "si", "sí", "sim", "да", "是", "是的", "对", "はい", "네", "예"])
ABROAD_NO = frozenset(["nein", "non", "não", "nao", "нет", "不", "不是", "否", "没有", "いいえ", "아니요", "아니오"])
"""As whole replies only: within a sentence some of them say something else."""
ARTICLES = frozenset(["a", "an", "the", "some"])

_UNITS = (
    r"(?:(?-i:[mgl])|[cdmk]m|in|inch(?:es)?|ft|feet|yd|mi|miles?|[mk]g|lbs?|oz|ml|min|sec|hrs?|[ap]m|mph|km/h|"
    r"px|pixels|k?hz|[kmgt]b|(?:centi|milli|kilo)?met(?:er|re)s?)"
)
"""Set apart from their numbers: "12cm" and "12 cm" are the same."""
_SPELLINGS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.I), put)
    for pattern, put in (
        (r"[’‘`´]", "'"),
        (r"\bcan(?:'t|not| not)\b", "cannot"),
        (r"\bwon't\b", "will not"),
        (r"n't\b", " not"),
        (r"\bn/a\b", "not applicable"),
        (r"\bgrey(?=s?\b|ish\b)", "gray"),
        (r"\bcolour", "color"),
        (r"\bcentre\b", "center"),
        (r"\bcounter-?clockwise\b", "counterclockwise"),
        (r"(?<=[a-z])[-‐‑](?=[a-z])", " "),
        (r"\s*&\s*(?=\w)", " and "),
        (rf"(?<=\d)(?={_UNITS}(?!\w))", " "),
    )
)
_NUMBER = re.compile(r"[+-]?\d{1,15}(?:,\d{3})*(?:\.\d+)?")

_FILLER_WORDS = """
    a an the is it its it's that's that this these those i i'd i'll i'm we would we'd think believe guess say said
    feel suppose assume reckon bet am are be been being going go goes went with choose chose pick picked select selected
    my our final finally answer answers option choice letter number correct right best definitely probably likely
    certainly clearly maybe perhaps possibly obviously surely so thus therefore hence then sure ok okay yes yeah yep
    well hmm hm um oh ah alright here there of course to must should will shall has have had having looks look looking
    like seems seem appears appear one ones or and either both just simply indeed please thanks thank you for in on at
    from by picture image photo photograph shown show shows given question response selection based see visible most
    more very really absolutely confident confidently conclude conclusion overall summary all done the what as per me
    honestly actually ultimately altogether according evidently apparently undoubtedly doubtless lean
    leaning toward towards vote opt settle settling roughly about around exactly only approximately total sir madam
    since because question's listed provided above i've let us let's glance great hello hi hey solution result ans
    antwort respuesta réponse risposta resposta ist es est é la le die das der el der und y et option opción prolly
    gotta kinda def defo lol imo tbh that'd it'd im its thats ill id 选项 选
"""
_FRACTION = re.compile(r"(-?\d{1,9})/(\d{1,9})")
FILLERS = frozenset(_FILLER_WORDS.split())
"""Words beside which a letter or a choice is the whole of what a sentence says."""

CONCLUDES = re.compile(
    r"^\W*(?:so|therefore|thus|hence|consequently|accordingly|in conclusion|to conclude|overall|in summary|to sum up|"
    r"in short|finally|ultimately|as a result|this means|that means|which means|conclusion|final answer)\b"
)
"""A sentence that concludes."""


def spelled(text: str) -> str:
    """In one spelling: "cannot", "not" for "n't", American, no hyphens between words; the case stays."""
    for pattern, put in _SPELLINGS:
        text = pattern.sub(put, text)
    return text


def number_of(text: str) -> float | None:
    """The number that a text is and nothing else: digits, English words up to ninety-nine, one Chinese numeral."""
    bare = text.strip().lower().rstrip(".")
    bare = bare.replace("-", " ") if bare[:1].isalpha() else bare
    if bare in NUMBERS:
        return float(NUMBERS.index(bare))
    if bare in CHINESE:
        return float(CHINESE[bare])
    parts = _FRACTION.fullmatch(bare)
    if parts and int(parts[2]):
        return int(parts[1]) / int(parts[2])
    return float(bare.replace(",", "")) if _NUMBER.fullmatch(bare) else None


def number_word(value: int) -> str:
    """Matches the word of a number below 100 where it is no part of a larger one ("one" of "twenty-one")."""
    word = NUMBERS[value].replace(" ", r"[\s-]")
    before = _MORE_BEFORE if 0 < value < 10 else ""
    more = rf"(?![\s-](?:{'|'.join(_UNITS_WORDS)})\b)" if value >= 20 and value % 10 == 0 else ""
    return f"{before}{word}{more}{_MORE_BEHIND}"


def number_pattern(value: int) -> str:
    """Matches a whole number as digits or word."""
    grouped = f"{value:,}".replace(",", "[, ']?")
    words = [rf"0*{grouped}(?:\.0+)?"]
    if value < len(NUMBERS):
        words.append(number_word(value))
    words += [sign for sign, worth in CHINESE.items() if worth == value]
    return f"(?:{'|'.join(words)})"


def bare(text: str) -> str:
    """In lower case and one spelling, without article before it and marks around it: how two answers are compared."""
    words = re.sub(r"[^\w\s%+#.,:/'√-]+", " ", spelled(text).lower()).strip(" .,:;-'/\t\r\n").split()
    while len(words) > 1 and words[0] in ARTICLES:
        words = words[1:]
    joined = " ".join(words)
    if words and joined[:1].isdigit() and re.search(rf"(?<![\w.])[-−–]\s?{re.escape(joined)}\W*$", text.strip(), re.I):
        joined = f"-{joined}"
    number = number_of(joined)
    if number is not None:
        return f"{number:g}"
    return "yes" if joined in YES | ABROAD_YES else "no" if joined in NO | ABROAD_NO else joined
