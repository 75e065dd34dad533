"""Is an answer right? The two plain rules, for rewards and for every accuracy during training."""

from __future__ import annotations

import re

from slvr_data.checks.queries.base import normal
from slvr_model.prompts import LETTERS

_LETTER = re.compile(rf"\(?([{LETTERS}{LETTERS.lower()}])(?:\)|[.:](?!\w)|(?=\s*$))")


def is_right(given: str, right: str, lettered: bool) -> bool:
    """Whether an answer is right: by `letter` where it is to be one, else by `exact`."""
    return bool(letter(given, right) if lettered else exact(given, right))


def letter(given: str, right: str) -> float:
    """1 where `given` begins with the right letter, and goes on, if at all, as a choice is written."""
    found = _LETTER.match(given.strip())
    return float(found is not None and found[1].upper() == right.strip().upper())


def exact(given: str, right: str) -> float:
    """1 where both are the same but for case, spaces and a full stop at the end."""
    return float(plain(given) == plain(right))


def plain(text: str) -> str:
    """A text without what `exact` overlooks."""
    return normal(text).rstrip(".").rstrip()
