"""Two profiles of one region, field by field: where does the second contradict the first?

What is unknown on either side contradicts nothing, and neither does what only the second one says. A value
known to be absent ("none", the empty list) contradicts one that is there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from slvr_data.checks.entity import head, normalised, of_one_kind
from slvr_data.colors import CONFUSED
from slvr_data.schema import AttributeProfile, Link

OVERLAP = 0.5
"""Two phrases for one thing have more than this share of the shorter one's words in common."""
SEEN_IN_CROP = frozenset(
    ["appearance.entity", "appearance.colors", "appearance.shape", "appearance.material", "action", "visible_text",
     "spatial.orientation"]
)  # fmt: skip
"""Fields that can be told without the rest of the picture."""
_EMPTY = frozenset(["a", "an", "the", "of", "in", "on", "at", "to", "is", "are", "it", "its", "and", "with"])


def differences(first: AttributeProfile, second: AttributeProfile, fields: Sequence[str]) -> list[str]:
    """Of each of `fields` that the second profile contradicts: "appearance.colors: red / blue"."""
    found = []
    for name in fields:
        mine, theirs = value_of(first, name), value_of(second, name)
        if mine is not None and theirs is not None and not COMPARED[name](mine, theirs):
            found.append(f"{name}: {_words(mine)} / {_words(theirs)}")
    return found


def value_of(profile: AttributeProfile, name: str) -> Any:
    """The value of a field by its dotted name, e.g. "appearance.colors"."""
    value: Any = profile
    for part in name.split("."):
        value = getattr(value, part)
    return value


def _words(value: Any) -> str:
    """A value as evidence says it."""
    if isinstance(value, list):
        parts = [f"{v.kind} {v.target}" if isinstance(v, Link) else str(v) for v in value]
        return ", ".join(parts) or "none"
    return str(value)


def tokens(text: str) -> set[str]:
    """The words that count, in lower case and in the singular."""
    words = re.findall(r"\w+", text.casefold())
    return {head(word) for word in words if word not in _EMPTY} or set(words)


def overlap(one: str, other: str) -> float:
    """Common words as a share of the shorter phrase's."""
    a, b = tokens(one), tokens(other)
    return len(a & b) / min(len(a), len(b)) if a and b else float(a == b)


def _exact(mine: Any, theirs: Any) -> bool:
    return bool(mine == theirs)


def _free(mine: str, theirs: str) -> bool:
    """Phrases that share words; "none" only agrees with itself."""
    said, seen = normalised(mine), normalised(theirs)
    if "none" in (said, seen):
        return said == seen
    return overlap(said, seen) > OVERLAP


def _named(mine: str, theirs: str) -> bool:
    """Names that may be of one thing: a finer or a wider word, or another for the same."""
    return of_one_kind(mine, theirs) or _free(mine, theirs)


def _colors(mine: list[str], theirs: list[str]) -> bool:
    """Each colour is seen again, or one that people take for it."""
    return bool(theirs) == bool(mine) and all(
        any(said == seen or {said, seen} in CONFUSED for seen in theirs) for said in mine
    )


def _texts(mine: list[str], theirs: list[str]) -> bool:
    """More than half of the words that were read are read again, in either case of letters."""
    if not mine or not theirs:
        return not mine and not theirs
    return overlap(" ".join(mine), " ".join(theirs)) > OVERLAP


def _links(mine: list[Link], theirs: list[Link]) -> bool:
    """Each link is seen again: the same kind, to the same thing or one of its name."""
    return all(any(_same_link(said, seen) for seen in theirs) for said in mine)


def _same_link(mine: Link, theirs: Link) -> bool:
    if not _free(mine.kind, theirs.kind):
        return False
    if mine.target_region_id is not None and theirs.target_region_id is not None:
        return mine.target_region_id == theirs.target_region_id
    return _named(mine.target, theirs.target)


COMPARED: dict[str, Callable[[Any, Any], bool]] = {
    "appearance.entity": _named,
    "appearance.colors": _colors,
    "appearance.shape": _free,
    "appearance.material": _free,
    "appearance.size": _exact,
    "action": _free,
    "interaction": _links,
    "spatial.position": _exact,
    "spatial.orientation": _exact,
    "spatial.depth": _exact,
    "spatial.relations": _links,
    "visible_text": _texts,
    "peers.same_label_count": _exact,
}
"""Field -> whether what the second profile says leaves the first one standing."""
