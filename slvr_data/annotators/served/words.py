"""A model's words brought to the words of the records: colours, empty words, letter case."""

from __future__ import annotations

import re
import unicodedata

from slvr_data.checks.vague import EMPTY_WORDS, bare
from slvr_data.colors import COLORS

_TERMS = {
    "grey": "gray", "silver gray": "gray", "charcoal": "gray", "scarlet": "red", "crimson": "red", "navy": "blue",
    "navy blue": "blue", "sky blue": "blue", "royal blue": "blue", "azure": "blue", "lime": "green",
    "lime green": "green", "forest green": "green", "olive green": "green", "emerald": "green", "violet": "purple",
    "lavender": "purple", "lilac": "purple", "mauve": "purple", "magenta": "pink", "hot pink": "pink",
    "chocolate": "brown", "off-white": "white", "off white": "white", "ivory": "white", "golden yellow": "yellow",
}  # fmt: skip
"""Colour words that belong to one basic term only. What lies between two (beige, turquoise, gold) is not here."""
_SHADED = re.compile(r"(?:(?:very )?(?:dark|light|bright|pale|deep|vivid)(?:er)?)[ -](\w+)$")
_NEVER_SHADED = frozenset({"red", "orange", "white", "black"})
"""A light red is pink and a dark orange is brown: with such a word before them they are not sure."""


def basic_color(text: str) -> str:
    """The basic colour term that a colour word belongs to; the word itself, in lower case, where none is plain."""
    word = " ".join(text.lower().split()).strip(" .")
    word = _TERMS.get(word, word)
    if (shaded := _SHADED.match(word)) and word not in COLORS:
        base = _TERMS.get(shaded[1], shaded[1])
        if base in COLORS and base not in _NEVER_SHADED:
            return base
    return word


def plain(text: str) -> str | None:
    """In lower case, with single spaces, without article and closing stop; None for what says nothing."""
    word = bare(text)
    return None if word in EMPTY_WORDS else word


def verbatim(text: str) -> str | None:
    """Text read off a thing, in single spaces; None where it is blank."""
    return " ".join(text.split()) or None


def latin(text: str) -> bool:
    """Whether at least half of the letters are Latin ones; so of text without letters."""
    if text.isascii():
        return True
    letters = [letter for letter in text if letter.isalpha()]
    return 2 * sum("LATIN" in unicodedata.name(letter, "") for letter in letters) >= len(letters)
