"""`vague`: a profile says something, and its words mean something."""

from __future__ import annotations

from collections.abc import Iterator

from slvr_data.checks.base import CheckedRegion, failed, passed
from slvr_data.schema import AttributeProfile, Region, Verdict

NAME = "vague"

VAGUE_NOUNS = frozenset(
    [
        "thing", "things", "object", "objects", "item", "items", "stuff", "something", "somebody", "someone", "entity",
        "element", "subject", "region", "area", "part", "piece", "shape", "figure of some kind", "it", "this", "that",
        "one", "content", "unidentified object",
    ]
)  # fmt: skip
"""Words that name nothing."""
EMPTY_WORDS = frozenset(
    [
        "", "unknown", "n/a", "na", "null", "unclear", "undefined", "unspecified", "not visible", "not sure", "unsure",
        "indeterminate", "various", "some", "any", "anything", "other", "others", "normal", "regular", "typical",
        "misc", "miscellaneous", "?", "-", "...",
    ]
)  # fmt: skip
"""Answers that say nothing. "none" is not one: it says that there is none."""
_ARTICLES = ("a ", "an ", "the ", "some ", "any ")


def bare(text: str) -> str:
    """A phrase in lower case, without its article and closing stop."""
    words = " ".join(text.lower().split()).strip(" .")
    for article in _ARTICLES:
        words = words.removeprefix(article)
    return words


def check_vague(record: CheckedRegion) -> Verdict:
    """Fails with "entity-vague", "word-empty" or "nothing-known".

    A word that the source itself uses as the label is never vague.
    """
    profile, region = record.profile, record.region
    for name, text in _words(profile):
        said = bare(text)
        if region.label is not None and said == bare(region.label):
            continue
        if said in EMPTY_WORDS:
            return failed(NAME, "word-empty", f"{name} {text!r} says nothing: leave it unknown")
        if name in ("entity", "target") and said in VAGUE_NOUNS and not _is_label(said, record):
            return failed(NAME, f"{name}-vague", f"{name} {text!r} names nothing")
    if _nothing_known(profile, region):
        return failed(NAME, "nothing-known", "only size and place are known, which the box tells")
    return passed(NAME)


def _is_label(word: str, record: CheckedRegion) -> bool:
    return any(other.label is not None and bare(other.label) == word for other in record.others)


def _words(profile: AttributeProfile) -> Iterator[tuple[str, str]]:
    look = profile.appearance
    single = {"entity": look.entity, "shape": look.shape, "material": look.material, "action": profile.action}
    yield from ((name, text) for name, text in single.items() if text is not None)
    yield from (("color", text) for text in look.colors or [])
    for link in (*(profile.interaction or []), *(profile.spatial.relations or [])):
        yield "target", link.target
        yield "kind", link.kind


def _nothing_known(profile: AttributeProfile, region: Region) -> bool:
    """Whether a profile does not even say what its source says; without a label, nothing is what may be known."""
    look = profile.appearance
    known = (look.entity, look.colors, look.shape, look.material, profile.action, profile.interaction)
    if any(known) or profile.visible_text or profile.spatial.relations or profile.peers.same_label_count:
        return False
    return region.label is not None
