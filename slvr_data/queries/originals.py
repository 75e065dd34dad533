"""Questions that a source asks: which facet they are on, and what their choices are."""

from __future__ import annotations

import re

from slvr_data.colors import COLORS

LONGEST = 1000
"""Characters of a question that are read: what is longer is refused anyway."""
_PICTURE = r"(the|this) (picture|image|photo|photograph)"
_COLOR = rf"\b(colou?rs?|colou?red|{'|'.join(COLORS)}|grey|beige|olive|buff|rufous)\b"
_RULES: tuple[tuple[str, str], ...] = (
    (
        "visible_text",
        r"\b(text|word|letter|number on|what number (?!of)|written|say|says|read|reads|spell|logo|brand|title|author|"
        r"name on)\b",
    ),
    ("count", r"\b(how many|number of|count)\b"),
    ("action", r"\b(what (is|are) .*\b(doing|playing)|\w+ing what|activity|pose)\b"),
    ("color", _COLOR),
    (
        "material",
        r"\b(made (of|from|out of)|material|fabric|wooden|metal|plastic|pattern|striped|dotted|spotted|solid)\b",
    ),
    ("shape", r"\b(shape|round|square|rectangular|circular|triangular)\b"),
    ("size", r"\b(size|large|small|big|little|tall|short|long|tiny|huge|how (large|big|tall|long))\b"),
    (
        "interaction",
        r"\b(hold|holding|held|wear|wearing|carry|carrying|ride|riding|touch|touching|contain|contains|use|using)\b",
    ),
    ("depth", r"\b(in front|behind|background|foreground|closer|farther|nearest|farthest)\b"),
    ("position", rf"\b(side|part|corner|edge|top|bottom|left|right|center|centre|middle) of {_PICTURE}\b"),
    ("orientation", r"\b(facing|orientation|upside|upright|tilted|direction)\b"),
    (
        "relation",
        r"\b(left of|right of|above|below|under|beneath|over|on top|next to|beside|near|between|inside|in|on|off|at|"
        r"outside|part of|away from|close to|far from|attached to|connected to|among|around|across|opposite|against)\b",
    ),
    ("position", r"\b(where|which part)\b"),
    ("action", r"\b(standing|sitting|lying|running|walking|jumping|flying|sleeping|eating|swimming|smiling)\b"),
    ("entity", r"\b(what|which|who|kind|type|is (this|that|there|it))\b"),
)
_WHERE = re.compile(r"^\s*(where|on which side)\b", re.I)
_SHOWN = re.compile(rf"\b(in|on) {_PICTURE}\b", re.I)
"""Says no more than that the picture shows it: no relation."""


def facet_of(question: str) -> str | None:
    """The facet of a question in free words, or None where no rule knows it.

    A closed list of rules, the most telling first: a question that names a colour and a place is on colour.
    """
    question = " ".join(question[:LONGEST].split())
    if _WHERE.search(question):
        return "position" if re.search(rf"\b{_PICTURE}\b", question, re.I) else "relation"
    told = _SHOWN.sub("", question)
    return next((facet for facet, pattern in _RULES if re.search(pattern, told, re.I)), None)


def yes_no(answer: str) -> bool | None:
    """True for yes, False for no, None for anything else."""
    word = answer.strip().rstrip(".").lower()
    return {"yes": True, "true": True, "no": False, "false": False}.get(word)
