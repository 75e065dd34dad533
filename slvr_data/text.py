"""The canonical sentence form of a profile: what an embedding model reads, and what a person reads."""

from __future__ import annotations

from collections.abc import Sequence

from slvr_data.schema import AttributeProfile, Link


def profile_text(profile: AttributeProfile) -> str:
    """The known fields of a profile as English sentences, in a fixed order; unknown fields are left out."""
    look, place = profile.appearance, profile.spatial
    sentences = [f"{_head(profile)}."]
    if look.shape not in (None, "none"):
        sentences.append(f"Shape: {look.shape}.")
    if profile.action not in (None, "none"):
        sentences.append(f"Action: {profile.action}.")
    if profile.interaction:
        sentences.append(f"Interaction: {_links(profile.interaction, look.entity)}.")
    if place.orientation not in (None, "none"):
        sentences.append(f"Orientation: {place.orientation}.")
    if place.depth not in (None, "none"):
        sentences.append(f"Depth: {place.depth}.")
    if place.relations:
        sentences.append(f"Relations: {_links(place.relations, look.entity)}.")
    if profile.visible_text:
        sentences.append("Visible text: " + ", ".join(f'"{text}"' for text in profile.visible_text) + ".")
    count = profile.peers.same_label_count
    if count is not None:
        sentences.append("The only one of its kind." if count == 1 else f"One of {count} of its kind.")
    return " ".join(sentences)


def _head(profile: AttributeProfile) -> str:
    look = profile.appearance
    words = [look.size, joined(look.colors), None if look.material == "none" else look.material]
    noun = look.entity or "thing"
    phrase = " ".join([word for word in words if word] + [noun])
    where = profile.spatial.position
    head = f"{article(phrase)} {phrase}"
    head = head[0].upper() + head[1:]
    return f"{head} at the {where} of the picture" if where else head


def article(phrase: str) -> str:
    """The indefinite article, by the first letter."""
    return "an" if phrase[:1].lower() in "aeiou" else "a"


def joined(words: Sequence[str] | None) -> str | None:
    """Words as a list in English, e.g. "red, blue and green"; None for nothing."""
    if not words:
        return None
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]


def _links(links: Sequence[Link], entity: str | None) -> str:
    return ", ".join(f"{link.kind} {'another' if link.target == entity else 'the'} {link.target}" for link in links)
