"""As much English grammar as templates need: plurals, articles, agreement."""

from __future__ import annotations

_IRREGULAR = {
    "person": "people", "man": "men", "woman": "women", "child": "children", "mouse": "mice", "knife": "knives",
    "sheep": "sheep", "skis": "skis", "scissors": "scissors", "foot": "feet", "tooth": "teeth", "leaf": "leaves",
    "wolf": "wolves", "shelf": "shelves", "loaf": "loaves", "fish": "fish", "deer": "deer", "broccoli": "broccoli",
    "goose": "geese", "policeman": "policemen", "fireman": "firemen", "wife": "wives", "half": "halves",
    "aircraft": "aircraft", "series": "series", "ox": "oxen", "snowman": "snowmen", "calf": "calves",
}  # fmt: skip
_COMPOUND = ("woman", "man", "child", "knife", "wife", "shelf", "wolf", "tooth", "foot", "mouse", "goose", "fish")
"""Words whose irregular plural compounds share: "fisherman", "bookshelf"."""
_REGULAR = frozenset({"human", "german", "roman", "norman", "ottoman", "talisman", "shaman", "caiman", "mongoose"})
PLURAL_ONLY = frozenset(
    {"skis", "scissors", "pants", "jeans", "shorts", "glasses", "goggles", "trousers", "sunglasses"}
)
UNCOUNTABLE = frozenset({"broccoli", "grass", "water", "sand", "snow", "sky", "bread", "cheese", "rice", "furniture"})
"""Nouns of which "how many" does not ask well."""


def plural(noun: str) -> str:
    """The plural of a noun phrase whose last word is its head: "wine glass" to "wine glasses"."""
    *before, head = noun.split(" ")
    return " ".join([*before, _plural(head)])


def _plural(word: str) -> str:
    if word in _IRREGULAR or word in PLURAL_ONLY:
        return _IRREGULAR.get(word, word)
    end = next((end for end in _COMPOUND if word.endswith(end)), None)
    if end and word not in _REGULAR:
        return word.removesuffix(end) + _IRREGULAR[end]
    if word.endswith(("s", "x", "z", "ch", "sh")):
        return word + "es"
    if word.endswith("y") and word[-2:-1] not in "aeiou":
        return word[:-1] + "ies"
    if word.endswith("o") and word in ("potato", "tomato", "hero", "echo", "mango"):
        return word + "es"
    return word + "s"


def is_plural(noun: str) -> bool:
    """Whether a label is plural by itself ("scissors"): verbs follow it."""
    return noun.split(" ")[-1] in PLURAL_ONLY


def be(noun: str) -> str:
    """The form of "to be" that agrees with a label."""
    return "are" if is_plural(noun) else "is"


def do(noun: str) -> str:
    """The form of "to do" that agrees with a label."""
    return "do" if is_plural(noun) else "does"


def ordinal(number: int) -> str:
    """The word for a place in an order, up to "sixth"."""
    return ("first", "second", "third", "fourth", "fifth", "sixth")[number - 1]
