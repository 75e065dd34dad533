"""Other forms of a choice's words that say the same: plurals and singulars, compounds apart or together, opposites."""

from __future__ import annotations

import re
from collections.abc import Sequence

from benchmark.extract.words import number_of, number_pattern, number_word

_IRREGULAR = {
    "man": "men", "woman": "women", "child": "children", "person": "people", "mouse": "mice", "goose": "geese",
    "foot": "feet", "tooth": "teeth", "knife": "knives", "wife": "wives", "wolf": "wolves", "shelf": "shelves",
    "loaf": "loaves", "calf": "calves", "thief": "thieves", "scarf": "scarves", "hoof": "hooves", "leaf": "leaves",
    "ox": "oxen", "cactus": "cacti", "policeman": "policemen", "policewoman": "policewomen", "fireman": "firemen",
    "snowman": "snowmen", "fisherman": "fishermen", "potato": "potatoes", "tomato": "tomatoes", "mango": "mangoes",
    "hero": "heroes", "buffalo": "buffaloes", "bus": "buses", "bookshelf": "bookshelves", "grandchild": "grandchildren",
}  # fmt: skip
_SINGULAR = {plural: one for one, plural in _IRREGULAR.items()}
_OTHERWISE_WORDS = """
    glass glasses cloth clothes iron irons wood woods arm arms good goods spring springs fall falls light lights
    short shorts custom customs mean means color colors match matches fit fits point points face faces work works
    look looks show shows cross crosses park parks watch watches fly flies brown browns pant pants trouser trousers
    jean jeans scissors news stair back backs front fronts top tops left lefts right rights center centers middle
    side sides up ups down downs yes yeses no nos true false none nones both other others all metal metals paper
    papers water waters plastic plastics rubber rubbers tin tins leather stone stones brick bricks cotton wool silk
    linen linens fish fishes orient red reds blue blues green greens white whites black blacks yellow yellows gray
    grays pink pinks purple purples gold golds silver silvers high highs low lows hot cold sunny open opens close
    closes closed day days night nights morning mornings evening evenings afternoon afternoons noon summer summers
    winter winters autumn inside outside insides outsides north south east west always minute minutes hour hours
    option options choice choices answer answers letter letters number numbers one ones thing things sport sports
    run runs walk walks sit sits stand stands jump jumps play plays read reads increase increases decrease decreases
    rise rises drop drops large small medium round square squares circle circles triangle triangles kind kinds
    content contents plain plains flat flats second seconds hand hands
"""
_OTHERWISE = frozenset(_OTHERWISE_WORDS.split())
"""Words whose other number says something else, or may be a verb; and those that choices of other kinds hold."""
_PARTS = (
    "board|boat|brush|ball|bike|cycle|plane|house|room|phone|book|mill|cake|melon|berry|bird|truck|bow|flower|pole|"
    "shirt|storm|case|shelf|glasses|chair|cup|spoon|paper|screen|walk|light|fish|fighter|man|woman|port|print|yard"
)
_GROUPED = re.compile(r"(?<![\d.])(?:[1-9]\d{0,2}(?:,\d{3})+|[1-9]\d{3,8})(?![\d.])")
_WHOLE = re.compile(r"\d{1,3}(?:,\d{3})+|[^\W_]+|[a-z]+ [a-z]+")
_COMPOUND = re.compile(rf"([a-z]{{3,}}?)({_PARTS})\Z")
_SMALL_WORDS = (
    "a an the in on at to of or and no not is it be by up so as if i may any every some over all here there where now "
    "then"
)
_SMALL = frozenset(_SMALL_WORDS.split())


def other_number(words: Sequence[str]) -> list[str] | None:
    """A choice with its noun in the other number, as words: "knife" -> "knives"; None where it has no safe one."""
    last = words[-1].lower() if words else ""
    if len(words) > 3 or len(last) < 3 or not last.isascii() or not all(word.isalpha() for word in words):
        return None
    if last in _OTHERWISE or any(word.lower() in _SMALL for word in words):
        return None
    other = _IRREGULAR.get(last) or _SINGULAR.get(last) or _singular(last) or _plural(last)
    return [*words[:-1], other] if other else None


def _singular(word: str) -> str | None:
    if not word.endswith("s") or word.endswith(("ss", "us", "is")) or len(word) < 4:
        return None
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("ches", "shes", "xes", "sses")):
        return word[:-2]
    return word[:-1]


def _plural(word: str) -> str | None:
    if word.endswith(("ing", "ed", "ish", "ly", "est", "ful", "men", "ese", "ous", "en")):
        return None
    if word.endswith(("ch", "sh", "x", "ss", "z", "us")):
        return word + "es"
    if word.endswith("y") and word[-2] not in "aeiou":
        return word[:-1] + "ies"
    return word + "s"


def together(words: Sequence[str]) -> str | None:
    """Two or three words written as one: "t shirt" -> "tshirt"; None where that could be another word."""
    joined = "".join(words).lower()
    plain = all(word.isascii() and word.isalpha() for word in words)
    if not 2 <= len(words) <= 3 or len(joined) < 6 or not plain or any(word.lower() in _SMALL for word in words):
        return None
    return joined


def apart(word: str) -> str | None:
    """A pattern for a compound that may be written as two words: "surfboard", "surf board"."""
    found = _COMPOUND.match(word)
    return rf"{found[1]}\s?{found[2]}" if found else None


def word_pattern(word: str) -> str:
    """Matches one word of a choice: a whole number in digits or words, a compound in one word or two, others as is."""
    lower = word.lower()
    number = number_of(lower)
    if number is None or number != int(number) or not 0 <= number < 1e9 or not _WHOLE.fullmatch(lower):
        return apart(lower) or _GROUPED.sub(_regrouped, re.escape(lower))
    if int(number) != 1:
        return number_pattern(int(number))
    return rf"(?:0*1(?:\.0+)?|{number_word(1)}(?!\s+of\b)|一)"


def _regrouped(found: re.Match[str]) -> str:
    return f"{int(found[0].replace(',', '')):,}".replace(",", ",?")


def opposites(texts: Sequence[str]) -> dict[str, str]:
    """More words of each choice, as patterns, where the choices are true and false."""
    if {text.strip(" .").lower() for text in texts} != {"true", "false"}:
        return {}
    return {"false": r"not\s+true(?!\s+that\b)|untrue", "true": r"not\s+false(?!\s+that\b)"}
